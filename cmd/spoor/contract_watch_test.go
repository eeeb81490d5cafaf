// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestContractFolder(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const one = "apiVersion: spoor.dev/v1\nkind: Contract\nmetadata: {name: x}\nspec:\n  workload: {kind: Deployment, name: x}\n"
	write("one.yaml", one)
	f, err := watchContracts(dir)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(what string, contracts int, problem string) {
		t.Helper()
		set, changed, err := f.changed()
		switch {
		case problem == "" && err != nil, problem != "" && (err == nil || !strings.Contains(err.Error(), problem)):
			t.Errorf("%s: %v", what, err)
		case changed != (contracts > 0) || changed && set.Len() != contracts:
			t.Errorf("%s: changed %v", what, changed)
		}
	}
	expect("nothing happened", 0, "")
	write("one.yaml", one)
	write("notes.txt", "not a contract")
	write(".hidden.yaml", "not read")
	expect("nothing that matters happened", 0, "")
	write("two.yml", strings.ReplaceAll(one, "name: x", "name: y"))
	expect("a new file", 2, "")
	write("two.yml", "spec: [")
	expect("a broken file", 0, "two.yml")
	expect("the same broken file", 0, "")
	if err := os.Remove(filepath.Join(dir, "two.yml")); err != nil {
		t.Fatal(err)
	}
	expect("it is gone", 1, "")
	// As a mounted ConfigMap is: a link to a link that is moved.
	if err := os.Symlink("one.yaml", filepath.Join(dir, "linked.yaml")); err != nil {
		t.Fatal(err)
	}
	expect("a link to the same contract", 0, "linked.yaml")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	expect("the folder is gone", 0, "no such file")
}
