// SPDX-License-Identifier: Apache-2.0

package names

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spoor/spoor/agent/kernel"
	"github.com/spoor/spoor/agent/sensor"
	"github.com/spoor/spoor/agent/storage"
)

// observer is either tier of the names sensor.
type observer interface {
	Read(fn func(*sensor.NameChange)) error
	Losses() ([]sensor.Loss, error)
}

// openExact opens the full tier. Where it cannot be opened, nil: then the kernel must refuse all programs of its kind.
func openExact(t *testing.T, ring uint32) *sensor.ExactNames {
	t.Helper()
	refused := kernel.Fentry()
	r, err := storage.New()
	if err != nil {
		t.Fatal(err)
	}
	tgid, ns := r.Host()
	n, err := sensor.OpenExactNames(sensor.NamesOptions{HostTgid: tgid, HostNS: ns, Mounts: mountsOf, RingBytes: ring}, nil)
	if (err == nil) != (refused == nil) {
		t.Fatalf("the probe says %v, and the sensor %v", refused, err)
	}
	if err != nil {
		return nil
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// wantedExact is what differs where each change is seen as it happens.
var wantedExact = map[string][]string{
	"over": {"removed other", "renamed file -> other"},
}

// TestExactNames does every operation on every file system.
func TestExactNames(t *testing.T) {
	n := openExact(t, 0)
	if n == nil {
		return // openExact made sure of the reason
	}
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			for op, want := range wanted {
				if op == "tmpfile" && !hasTmpfile(t, place) {
					continue
				}
				if exact, differs := wantedExact[op]; differs {
					want = exact
				}
				t.Run(op, func(t *testing.T) { testExact(t, n, place, op, want) })
			}
		})
	}
	for _, l := range lossesOf(t, n) {
		if l.Count != 0 {
			t.Errorf("%d lost: %s", l.Count, l.Reason)
		}
	}
}

func lossesOf(t *testing.T, n observer) []sensor.Loss {
	t.Helper()
	losses, err := n.Losses()
	if err != nil {
		t.Fatal(err)
	}
	return losses
}

func testExact(t *testing.T, n *sensor.ExactNames, place, op string, want []string) {
	dir := furnished(t, place)
	changesOf(t, n, 0)
	inodes := inodesIn(t, dir)
	tgid := do(t, op, dir)
	var got []string
	for _, c := range changesOf(t, n, tgid) {
		got = append(got, told(&c, filepath.Base(dir)))
		if c.Who.Tgid != tgid || c.Who.StartBoottime == 0 || c.MntNS == 0 {
			t.Errorf("%s was done by %+v in namespace %d", got[len(got)-1], c.Who, c.MntNS)
		}
		if ino := inodes[filepath.Base(c.Path)]; ino != 0 && c.Inode.Number != ino {
			t.Errorf("%s is about inode %d, want %d", got[len(got)-1], c.Inode.Number, ino)
		}
		if c.Inode.Number == 0 || c.FSType == "" || c.PathCut || c.TargetCut {
			t.Errorf("told in part: %+v", c)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("told\n  %q\nwant\n  %q", got, want)
	}
}

// TestExactNamesOfTreesThatAreGone: however fast a directory goes, its path was taken when something happened in it.
func TestExactNamesOfTreesThatAreGone(t *testing.T) {
	n := openExact(t, 0)
	if n == nil {
		return
	}
	dir := watchedDir(t)
	tgid := do(t, "many trees", dir)
	ops := map[sensor.NameOp]int{}
	for _, c := range changesOf(t, n, tgid) {
		ops[c.Op]++
		if !strings.Contains(c.Path, "/"+filepath.Base(dir)+"/t") || c.PathCut {
			t.Errorf("%s lacks its beginning", told(&c, filepath.Base(dir)))
		}
	}
	if ops[sensor.NameCreated] != 5*manyTrees || ops[sensor.NameRemoved] != 5*manyTrees {
		t.Errorf("%v are told, want %d made and as many removed", ops, 5*manyTrees)
	}
}

// TestExactNamesLost: what the ring has no room for is counted, as a sum and by the cgroup that did it.
func TestExactNamesLost(t *testing.T) {
	n := openExact(t, 64<<10)
	if n == nil {
		return
	}
	dir := watchedDir(t)
	made := 0
	lost := func() uint64 {
		for _, l := range lossesOf(t, n) {
			if l.Reason == "ring_full" {
				return l.Count
			}
		}
		t.Fatal("a full ring is not counted")
		return 0
	}
	for ; lost() == 0; made++ {
		if made > 10_000 {
			t.Fatalf("after %d files, of which nobody read, nothing is counted as lost", made)
		}
		path := fmt.Sprintf("%s/%0128d", dir, made)
		if err := errors.Join(touch(path), os.Remove(path)); err != nil {
			t.Fatal(err)
		}
	}
	by, err := n.LostBy()
	if err != nil {
		t.Fatal(err)
	}
	sum := uint64(0)
	for _, count := range by {
		sum += count
	}
	if sum == 0 || sum > lost() {
		t.Errorf("%d are lost, by cgroups %v", lost(), by)
	}
	kept := len(changesOf(t, n, uint32(os.Getpid())))
	if total := uint64(kept) + lost(); total < uint64(2*made) {
		t.Errorf("%d told and %d lost of %d", kept, lost(), 2*made)
	}
	// It goes on afterwards.
	if got := changesOf(t, n, do(t, "create", dir)); len(got) != 1 {
		t.Errorf("after a loss %+v is told, want a creation", got)
	}
}
