// SPDX-License-Identifier: Apache-2.0

package chaos_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/test/scene"
)

// smallDisk mounts a file system of so many bytes; grow gives it room.
func smallDisk(t *testing.T, dir, bytes string) (grow func()) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mount := func(flags uintptr, options string) {
		t.Helper()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
			t.Fatalf("mount a file system at %s, which takes root: %v", dir, err)
		}
	}
	mount(0, "mode=0700,size="+bytes)
	t.Cleanup(func() {
		// Whoever else looks at mounts on this machine may have it open for a moment.
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return func() {
		t.Helper()
		mount(syscall.MS_REMOUNT, "mode=0700,size=1g")
	}
}

// full reports whether a file system has no room left to speak of.
func full(t *testing.T, dir string) bool {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return s.Bavail < 16
}

// TestFullDisks lets the collector's disk run full, and then the agent's. The collector says that it takes nothing, and goes
// on when there is room; what the agent had on disk, and what waited in its memory, arrives, once.
func TestFullDisks(t *testing.T) {
	dir := t.TempDir()
	data, folder := filepath.Join(dir, "data"), filepath.Join(dir, "spool")
	growData, growFolder := smallDisk(t, data, "3m"), smallDisk(t, folder, "1m")
	url, inherited := front(t)
	var parts []*process
	start := func(name string, how part, inherits *os.File, said func(string)) *process {
		t.Helper()
		p, err := spawn(name, name, how, inherits, said)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, p)
		return p
	}
	t.Cleanup(func() {
		for _, p := range parts {
			if p.cmd.ProcessState == nil {
				_ = p.kill()
			}
		}
	})
	collector := start("collector", part{Dir: data}, nil, silent)
	between := start("proxy", part{Dir: data, Calm: true}, inherited, silent)
	w := newWitness()
	var lines atomic.Int64
	how := part{Dir: filepath.Join(folder, "spool"), Node: "n", URL: url}
	busy := start("agent", how, nil, func(line string) { lines.Add(1); w.hear(line) })

	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	ready := func() string {
		response, err := client.Get(url + "/readyz")
		if err != nil {
			return err.Error()
		}
		defer func() { _ = response.Body.Close() }()
		return response.Status
	}
	said := &scene.Transcript{}
	eventually(t, "a collector that says it cannot commit", said, func() bool { return strings.HasPrefix(ready(), "503") })
	eventually(t, "a spool without room", said, func() bool { return full(t, folder) })
	// What waits in the agent's memory goes to its disk; nothing is acknowledged yet.
	growFolder()
	before := lines.Load()
	eventually(t, "a spool that takes events again", said, func() bool { return lines.Load() > before+20 })
	growData()
	eventually(t, "a collector that commits again", said, func() bool { return strings.HasPrefix(ready(), "200") })
	if err := busy.kill(); err != nil {
		t.Fatal(err)
	}
	how.Calm = true
	if err := start("agent", how, nil, w.hear).end(true); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*process{between, collector} {
		if err := p.end(false); err != nil {
			t.Error(err)
		}
	}
	c := count(t, data, []string{"n"}, w.onDisk, func(t *testing.T, ev *spoorv1.Event) { t.Helper(); demand(t, ev) })
	t.Logf("%d events on disk or acknowledged; stored %d, missing %d, doubled %d", c.onDisk, c.stored, c.missing, c.doubled)
	if c.missing != 0 || c.doubled != 0 || c.stored < c.onDisk || c.onDisk == 0 {
		t.Error("that is not each of them once")
	}
}
