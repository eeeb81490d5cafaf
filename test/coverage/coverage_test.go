// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent"
	"github.com/spoor/spoor/agent/act"
	"github.com/spoor/spoor/agent/kernel"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const (
	// Directories on further file systems to do the acts in, separated by colons; test/kernels sets it.
	envDirs = "SPOOR_TEST_DIRS"
	// The tier to look at: auto or base.
	envTier = "SPOOR_TEST_TIER"
	// A file to which the column is written as JSON, for docs/coverage.md.
	envOut = "SPOOR_COVERAGE_OUT"
)

func TestMain(m *testing.M) {
	act.Main()
	os.Exit(m.Run())
}

func tier() string {
	if t := os.Getenv(envTier); t != "" {
		return t
	}
	return agent.TierAuto
}

// place is a file system and a directory on it.
type place struct{ fs, dir string }

// places are the file systems of this machine that the acts are done on: that of temporary files, tmpfs, and the given.
func places(t *testing.T) []place {
	t.Helper()
	given := strings.FieldsFunc(os.Getenv(envDirs), func(r rune) bool { return r == ':' })
	var list []place
	for _, dir := range given {
		list = append(list, place{filepath.Base(dir), dir})
	}
	if len(given) == 0 {
		list = append(list, place{fsType(t, os.TempDir()), os.TempDir()})
		if list[0].fs != "tmpfs" {
			list = append(list, place{"tmpfs", "/dev/shm"})
		}
	}
	for i := range list {
		dir, err := os.MkdirTemp(list[i].dir, "spoor-coverage-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
		list[i].dir = dir
	}
	return list
}

func fsType(t *testing.T, dir string) string {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	switch st.Type {
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	default:
		return "other"
	}
}

// cell is what became of one act on one file system.
type cell struct {
	Act        string
	FileSystem string
	// seen, missed, wrong, or impossible.
	State string
	Why   string `json:",omitempty"`
}

// done is an act that was done and is to be judged.
type done struct {
	act    *act.Act
	fs     string
	result *act.Result
}

// TestCoverage does every act on every file system under the eyes of one agent, and looks for the events that tell it.
func TestCoverage(t *testing.T) {
	var acts []done
	var cells []cell
	where := places(t)
	events := watched(t, func(told func() []*spoorv1.Event) {
		for _, p := range where {
			for _, a := range act.All() {
				// What has nothing to do with files is done once.
				if a.Group != act.GroupFile && p != where[0] {
					continue
				}
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				r, err := a.Do(ctx, act.Env{Dir: p.dir, Hold: hold(a, told), Cgroups: apart(t, a)})
				cancel()
				var no *act.Unsupported
				switch {
				case errors.As(err, &no):
					cells = append(cells, cell{a.Name, p.fs, "impossible", no.Reason})
				case err != nil:
					t.Errorf("%s on %s: %v", a.Name, p.fs, err)
				default:
					acts = append(acts, done{a, p.fs, r})
				}
			}
		}
	})
	if len(events) == 0 {
		t.Fatal("the agent told nothing at all")
	}
	for _, d := range acts {
		cells = append(cells, judge(t, d, events))
	}
	for _, ev := range events {
		// Names are lost of directories that other programs remove meanwhile; nothing else may be.
		if l := ev.GetLoss(); l != nil && l.GetReason() != "name_unreadable" {
			t.Errorf("lost: %v", l)
		}
	}
	write(t, cells)
}

// hold keeps an act that is about what goes on, and not about how it ends, going until it was told.
func hold(a *act.Act, told func() []*spoorv1.Event) func(context.Context, *act.Result) error {
	if a.Name != "tcp4-live" && a.Group != act.GroupMemory {
		return nil
	}
	return func(ctx context.Context, r *act.Result) error {
		for !r.Judge(told()).OK() {
			select {
			case <-ctx.Done():
				return fmt.Errorf("not told while it went on:\n%s", r.Judge(told()))
			case <-time.After(50 * time.Millisecond):
			}
		}
		return nil
	}
}

// apart puts the processes of an act that is about sharing into two workloads.
func apart(t *testing.T, a *act.Act) map[string]string {
	t.Helper()
	if a.Group != act.GroupMemory {
		return nil
	}
	root, err := kernel.CgroupMount()
	if err != nil {
		t.Fatal(err)
	}
	cgroups := map[string]string{}
	for role, unit := range map[string]string{"actor": "spoor-test-one.service", "other": "spoor-test-two.service", "child": "spoor-test-two.service"} {
		dir := filepath.Join(root, unit)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Error(err)
			}
		})
		cgroups[role] = dir
	}
	return cgroups
}

// judge compares with what is known not to be seen: a gap that nobody knows of fails, and so does one that is gone.
func judge(t *testing.T, d done, events []*spoorv1.Event) cell {
	t.Helper()
	report := d.result.Judge(events)
	if hold(d.act, nil) != nil { // judged while it went on
		report = &act.Report{}
	}
	g, known := knownGap(d.act.Name, d.fs)
	c := cell{Act: d.act.Name, FileSystem: d.fs, State: "seen"}
	switch {
	case len(report.Wrong) > 0:
		c.State, c.Why = "wrong", report.String()
		t.Errorf("%s on %s:\n%s", d.act.Name, d.fs, report)
	case report.OK() && known && !g.sometimes:
		t.Errorf("%s on %s is seen, though it is listed as a gap (%s): take it from the list", d.act.Name, d.fs, g.why)
	case report.OK():
	case known:
		c.State, c.Why = "missed", g.why
	default:
		c.State, c.Why = "missed", report.String()
		t.Errorf("%s on %s:\n%s", d.act.Name, d.fs, report)
	}
	return c
}

func write(t *testing.T, cells []cell) {
	t.Helper()
	out := os.Getenv(envOut)
	if out == "" {
		return
	}
	b, err := json.MarshalIndent(cells, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(out, append(b, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}
