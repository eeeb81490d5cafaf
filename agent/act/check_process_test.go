// SPDX-License-Identifier: Apache-2.0

package act

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// runs: the executed process is there and has these arguments.
func runs(right func([]string) bool) func(*testing.T, *Result) {
	return func(t *testing.T, r *Result) {
		t.Helper()
		e := find(t, r, ProcessStart, "image")
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", e.Tgid))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(e.Process.Args, "\x00") + "\x00"; got != string(cmdline) {
			t.Errorf("arguments are %d bytes, not the %d of cmdline", len(got), len(cmdline))
		}
		if !right(e.Process.Args) {
			t.Errorf("%d arguments: %.200q", len(e.Process.Args), e.Process.Args)
		}
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", e.Tgid))
		if err != nil || exe != e.Process.Exe {
			t.Errorf("executable is %s: %v, not %s", exe, err, e.Process.Exe)
		}
		if e.Process.ParentTgid != r.Tgid {
			t.Errorf("parent is %d, not %d", e.Process.ParentTgid, r.Tgid)
		}
	}
}

func exited(code, signal int) func(*testing.T, *Result) {
	return func(t *testing.T, r *Result) {
		t.Helper()
		if p := only(t, r, ProcessExit).Process; p.ExitCode != code || p.Signal != signal || p.ParentTgid != r.Tgid {
			t.Errorf("exit is %+v", p)
		}
	}
}

func executable(exe string) func(*testing.T, *Result) {
	return func(t *testing.T, r *Result) {
		t.Helper()
		if p := find(t, r, ProcessStart, "program").Process; p.Exe != exe {
			t.Errorf("executable is %q, not %q", p.Exe, exe)
		}
	}
}

func sscanRelease(release string, major, minor *int) (int, error) {
	return fmt.Sscanf(release, "kernel %d.%d", major, minor)
}
