// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/licenseclassifier/v2/assets"
)

// The repository's own licence files are texts with known names.
func licence(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestClassify(t *testing.T) {
	c, err := assets.DefaultClassifier()
	if err != nil {
		t.Fatal(err)
	}
	apache, bsd, gpl := licence(t, "LICENSE"), licence(t, "LICENSES/BSD-2-Clause.txt"), licence(t, "LICENSES/GPL-2.0.txt")
	for _, tt := range []struct {
		name    string
		files   map[string]string
		want    string
		problem string
	}{
		{name: "permissive", files: map[string]string{"LICENSE": apache, "NOTICE": "by us"}, want: "Apache-2.0"},
		{name: "several", files: map[string]string{"LICENSE": apache, "sub/LICENSE.txt": bsd}, want: "Apache-2.0, BSD-2-Clause"},
		{name: "copyleft", files: map[string]string{"LICENSE": gpl}, problem: "LICENSE is under GPL-2.0"},
		{name: "copyleft below", files: map[string]string{"LICENSE": apache, "sub/COPYING": gpl}, problem: "sub/COPYING is under GPL-2.0"},
		{name: "unknown", files: map[string]string{"LICENSE": "You may look at it."}, problem: "LICENSE is no licence that is known"},
		{name: "none", problem: "has no licence file"},
		{name: "notice alone", files: map[string]string{"NOTICE": "by us"}, problem: "has no licence file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			names, err := (&module{Path: "example.org/m", files: tt.files}).classify(c)
			if got := strings.Join(names, ", "); tt.problem == "" && (err != nil || got != tt.want) {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
			if tt.problem != "" && (err == nil || !strings.Contains(err.Error(), tt.problem)) {
				t.Errorf("got the error %v; want one with %q", err, tt.problem)
			}
		})
	}
}

func TestExceptionsMustBeOfWhatIsLinked(t *testing.T) {
	// This program itself links the classifier, and nothing that has an exception.
	err := run(io.Discard, ".", []string{"."}, "")
	for _, e := range exceptions {
		if want := e.file + " of " + e.module; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("an exception that nothing needs, for %s, was not reported: %v", want, err)
		}
	}
}
