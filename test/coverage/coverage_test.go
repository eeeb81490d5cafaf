// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spoor/spoor/agent"
	"github.com/spoor/spoor/agent/act"
	"github.com/spoor/spoor/agent/selftest"
)

const (
	// Directories on further file systems to do the acts in, separated by colons; test/kernels sets it.
	envDirs = "SPOOR_TEST_DIRS"
	// A file to which the column is written as JSON, for docs/coverage.md; test/kernels brings it out of the machine.
	envOut = "SPOOR_TEST_OUT"
)

var (
	only = flag.String("acts", "", "do the acts whose names match this regular expression only")
	tier = flag.String("tier", agent.TierAuto, "the tier to look at, as the agent's option")
)

func TestMain(m *testing.M) {
	act.Main()
	os.Exit(m.Run())
}

// places are the file systems of this machine that the acts are done on: that of temporary files and tmpfs, or the given.
func places(t *testing.T) []selftest.Place {
	t.Helper()
	var list []selftest.Place
	for _, dir := range strings.FieldsFunc(os.Getenv(envDirs), func(r rune) bool { return r == ':' }) {
		list = append(list, selftest.Place{FileSystem: filepath.Base(dir), Dir: dir})
	}
	if len(list) > 0 {
		return list
	}
	for _, dir := range []string{os.TempDir(), "/dev/shm"} {
		fs, err := act.FileSystem(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 || list[0].FileSystem != fs {
			list = append(list, selftest.Place{FileSystem: fs, Dir: dir})
		}
	}
	return list
}

func acts(t *testing.T) []*act.Act {
	t.Helper()
	want, err := regexp.Compile(*only)
	if err != nil {
		t.Fatalf("flag -acts: %v", err)
	}
	var list []*act.Act
	for _, a := range act.All() {
		if want.MatchString(a.Name) {
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		t.Fatalf("no act is called like %q", *only)
	}
	return list
}

// TestCoverage does every act on every file system under the eyes of one agent, and looks for the events that tell it.
func TestCoverage(t *testing.T) {
	report, err := selftest.Run(t.Context(), selftest.Options{
		Agent: agent.Options{Tier: *tier}, Places: places(t), Acts: acts(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range report.Cells {
		if !c.State.OK() {
			t.Errorf("%s %s on %s: %s", c.State, c.Act, c.FileSystem, c.Why)
		}
	}
	for _, loss := range report.Losses {
		t.Errorf("lost: %s", loss)
	}
	write(t, report)
}

func write(t *testing.T, report *selftest.Report) {
	t.Helper()
	out := os.Getenv(envOut)
	if out == "" {
		return
	}
	b, err := json.MarshalIndent(report, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(out, append(b, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}
