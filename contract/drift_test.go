// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"strings"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// execs is an exec of a program with arguments.
func (s *scene) execs(exe string, args []string, want ...string) {
	s.t.Helper()
	ev := s.event(&spoorv1.ProcessStart{Cause: spoorv1.ProcessStart_CAUSE_EXEC})
	ev.Process.Exe, ev.Process.Args = exe, append([]string{exe}, args...)
	ev.Process.Comm = exe[strings.LastIndex(exe, "/")+1:]
	s.expect("exec of "+exe, s.judge.Observe(ev), want)
}

const patient = `
apiVersion: spoor.dev/v1
kind: Contract
metadata: {name: checkout, namespace: shop}
spec:
  workload: {kind: Deployment, name: checkout}
  state: stateful
  volumes: [{path: /build, class: binary}, {path: /data, class: data}]
`

func TestDrift(t *testing.T) {
	const found = "high exec.drift /tmp/tool"
	tool := inode("/tmp/tool", 7, layer)
	for _, tc := range []struct {
		name string
		play func(s *scene)
	}{
		{"written, then executed", func(s *scene) {
			s.sees(write(tool))
			s.execs("/tmp/tool", nil, found)
		}},
		{"executed before its writing was told", func(s *scene) {
			first := s.event(anyFact()).GetTime()
			s.after(time.Second).execs("/tmp/tool", nil)
			w := write(tool)
			w.First = first
			s.sees(w, found)
		}},
		{"executed and removed before its writing was told", func(s *scene) {
			first := s.event(anyFact()).GetTime()
			s.after(time.Second).execs("/tmp/tool (deleted)", nil)
			w := write(unlinked(tool))
			w.First = first
			s.sees(w, found)
		}},
		{"overwritten after it was executed", func(s *scene) {
			s.execs("/tmp/tool", nil)
			s.after(time.Second).sees(write(tool))
		}},
		{"renamed to its place", func(s *scene) {
			s.sees(write(inode("/tmp/download", 7, layer)))
			s.sees(rename(inode("/tmp/download", 7, layer), "/tmp/tool"))
			s.execs("/tmp/download", nil)
			s.execs("/tmp/tool", nil, found)
		}},
		{"linked", func(s *scene) {
			s.sees(write(inode("/tmp/download", 7, layer)))
			s.sees(link(inode("/tmp/download", 7, layer), "/tmp/tool"))
			s.execs("/tmp/tool", nil, found)
		}},
		{"removed, and another one there", func(s *scene) {
			s.sees(write(tool))
			s.sees(unlink(tool))
			s.execs("/tmp/tool", nil)
		}},
		{"a script for a shell", func(s *scene) {
			s.sees(write(tool))
			s.execs("/bin/sh", []string{"/tmp/tool"}, found)
		}},
		{"a script for Python", func(s *scene) {
			s.sees(write(tool))
			s.execs("/usr/bin/python3.11", []string{"/tmp/tool"}, found)
		}},
		{"a file that is read", func(s *scene) {
			s.sees(write(tool))
			s.execs("/bin/cat", []string{"/tmp/tool"})
		}},
		{"by another instance", func(s *scene) {
			s.sees(write(tool))
			s.instance, s.tgid = "i2", 200
			s.execs("/tmp/tool", nil)
		}},
		{"times alone were changed", func(s *scene) {
			w := write(tool)
			w.Data, w.SizeBefore = false, w.GetSizeAfter()
			s.sees(w)
			s.execs("/tmp/tool", nil)
		}},
		{"agreed to", func(s *scene) {
			s.sees(write(inode("/build/out/tool", 7, layer)))
			s.execs("/build/out/tool", nil)
		}},
		{"agreed to be something else", func(s *scene) {
			s.sees(write(inode("/data/tool", 7, layer)))
			s.execs("/data/tool", nil, "high exec.drift /data/tool")
		}},
		{"a fork", func(s *scene) {
			s.sees(write(tool))
			ev := s.event(&spoorv1.ProcessStart{Cause: spoorv1.ProcessStart_CAUSE_FORK})
			ev.Process.Exe = "/tmp/tool"
			s.expect("fork", s.judge.Observe(ev), nil)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.play(newScene(t, patient)) })
	}
}

// anyFact is any fact, of which only the time matters.
func anyFact() *spoorv1.ProcessExit { return &spoorv1.ProcessExit{} }

func TestDriftVerdict(t *testing.T) {
	s := newScene(t, patient)
	s.sees(write(inode("/tmp/x/tool", 7, layer)))
	s.execs("/tmp/x/tool", nil, "high exec.drift /tmp/x/tool")
	v := s.last[0]
	if v.Title != "Deployment shop/checkout executes /tmp/x/tool, which was written after it started" || len(v.Evidence) != 2 ||
		!strings.HasSuffix(v.Fix, "- {path: /tmp/x, class: binary}") {
		t.Errorf("%+v", v)
	}
	s.tick(48 * time.Hour) // stays until somebody has looked
	s.expect("reload", s.judge.Reload(mustSet(t, strings.Replace(patient, "path: /build", "path: /tmp/x", 1))), []string{"cleared exec.drift /tmp/x/tool"})
}
