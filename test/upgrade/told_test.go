// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// told sums up what the events say about one load.
type told struct {
	// Files by name, and how many events are about one, by when it begins.
	files   map[string]map[int64]int
	unnamed int
	log     []*spoorv1.FileWrite
	// Connections by direction.
	opened, closed map[spoorv1.Direction]int
	execs, exits   map[string]int
	ids            map[string]bool
	losses         map[string]uint64
	// Files that were told as made, and whether names are seen without an agent, which is so in the full tier.
	made  int
	exact bool
}

func sumUp(events []*spoorv1.Event, tgid uint32) *told {
	s := &told{
		files: map[string]map[int64]int{}, opened: map[spoorv1.Direction]int{}, closed: map[spoorv1.Direction]int{},
		execs: map[string]int{}, exits: map[string]int{}, ids: map[string]bool{}, losses: map[string]uint64{},
	}
	for _, ev := range events {
		if l := ev.GetLoss(); l != nil {
			s.losses[l.GetSource()+"/"+l.GetReason()] += l.GetCount()
		}
		if c := ev.GetCoverage(); c.GetSensor() == "names" && c.GetTier() == "full" {
			s.exact = true
		}
		p := ev.GetProcess()
		if p.GetParentTgid() == tgid {
			s.addChild(ev)
		}
		if p.GetTgid() == tgid {
			s.add(ev)
		}
	}
	return s
}

// addChild adds a program that the load ran.
func (s *told) addChild(ev *spoorv1.Event) {
	id := ev.GetProcess().GetExecId()
	if ev.GetProcessStart().GetCause() == spoorv1.ProcessStart_CAUSE_EXEC { // each agent finds those that run, besides
		s.execs[id]++
	}
	if ev.GetProcessExit() != nil {
		s.exits[id]++
	}
}

func (s *told) add(ev *spoorv1.Event) {
	if f := ev.GetFlow(); f != nil && f.GetTransport() == spoorv1.Transport_TRANSPORT_TCP {
		s.opened[f.GetDirection()] += int(f.GetOpened())
		s.closed[f.GetDirection()] += int(f.GetClosed())
	}
	if c := ev.GetFileChange(); c.GetOperation() == spoorv1.FileChange_OPERATION_CREATE {
		s.made += 1 + int(c.GetMerged())
	}
	w := ev.GetFileWrite()
	if w == nil {
		return
	}
	s.ids[ev.GetProcess().GetExecId()] = true
	name := filepath.Base(w.GetFile().GetPath())
	switch {
	case w.GetFile().GetPath() == "":
		s.unnamed++
	case name == "log":
		s.log = append(s.log, w)
	default:
		if s.files[name] == nil {
			s.files[name] = map[int64]int{}
		}
		s.files[name][w.GetFirst().AsTime().UnixNano()]++
	}
}

// sequences demands that the events of each run of an agent are numbered from 1, each once.
func sequences(t *testing.T, events []*spoorv1.Event) {
	t.Helper()
	runs := map[string][]uint64{}
	for _, ev := range events {
		runs[ev.GetEpoch()] = append(runs[ev.GetEpoch()], ev.GetSequence())
	}
	for epoch, numbers := range runs {
		slices.Sort(numbers)
		for i, n := range numbers {
			if n != uint64(i)+1 {
				t.Errorf("run %s: its event %d has number %d", epoch, i+1, n)
				break
			}
		}
	}
}

// demand compares what was told with what was done.
func (s *told) demand(t *testing.T, d done) {
	t.Helper()
	for i := range d.Files {
		if len(s.files[fmt.Sprint(i)]) == 0 {
			t.Errorf("file %d was not told", i)
		}
	}
	s.notTwice(t)
	if len(s.files) != d.Files || s.unnamed != 0 {
		t.Errorf("%d files were told, and %d events without a name; %d were made", len(s.files), s.unnamed, d.Files)
	}
	if n := d.Files + 1; s.exact && s.made != n { // the log, too
		t.Errorf("%d files were told as made; there were %d", s.made, n)
	}
	for _, direction := range []spoorv1.Direction{spoorv1.Direction_DIRECTION_OUTBOUND, spoorv1.Direction_DIRECTION_INBOUND} {
		if o, c := s.opened[direction], s.closed[direction]; o != d.Connections || c != d.Connections {
			t.Errorf("%s: %d connections opened and %d closed were told; there were %d", direction, o, c, d.Connections)
		}
	}
	if len(s.execs) != d.Execs {
		t.Errorf("%d execs were told; there were %d", len(s.execs), d.Execs)
	}
	for id := range s.execs { // a fork without an exec, by which the Go runtime tries something out, ends, too
		if s.exits[id] == 0 {
			t.Errorf("the end of %s was not told", id)
		}
	}
	s.demandLog(t, d)
}

// notTwice demands that no fact was told more than once.
func (s *told) notTwice(t *testing.T) {
	t.Helper()
	for name, facts := range s.files {
		for first, n := range facts {
			if n != 1 {
				t.Errorf("file %s: what began at %d was told %d times", name, first, n)
			}
		}
	}
	for what, images := range map[string]map[string]int{"exec": s.execs, "exit": s.exits} {
		for id, n := range images {
			if n != 1 {
				t.Errorf("%s of %s was told %d times", what, id, n)
			}
		}
	}
}

// demandLog looks at the one file that all agents saw: it stays the same file, by the same process, and its size is right in
// the end.
func (s *told) demandLog(t *testing.T, d done) {
	t.Helper()
	if len(s.ids) != 1 {
		t.Errorf("the load has the ids %v, want one", s.ids)
	}
	if len(s.log) == 0 {
		t.Error("the log was not told")
		return
	}
	type identity struct {
		inode           uint64
		dev, generation uint32
		path            string
	}
	identities := map[identity]bool{}
	for _, w := range s.log {
		f := w.GetFile()
		identities[identity{f.GetInode(), f.GetDev(), f.GetGeneration(), f.GetPath()}] = true
	}
	if len(identities) != 1 {
		t.Errorf("the log is %v, want one file", identities)
	}
	last := slices.MaxFunc(s.log, func(a, b *spoorv1.FileWrite) int {
		return cmp.Compare(a.GetLast().AsTime().UnixNano(), b.GetLast().AsTime().UnixNano())
	})
	if last.GetSizeAfter() != uint64(d.Log) {
		t.Errorf("the log has %d bytes in the end; %d were written", last.GetSizeAfter(), d.Log)
	}
}

// demandNoLoss accepts of all losses only those that are no facts of the load.
func (s *told) demandNoLoss(t *testing.T) {
	t.Helper()
	for what, n := range s.losses {
		switch what {
		case "names/no_agent", "readback/no_agent", "names/name_unreadable", "names/unknown_process":
		case "socket/unknown_owner", "dns/unknown_owner": // sockets that are older than the first agent
		case "readback/unmarkable", "readback/hot": // files of others: on file systems that know no marks, or read all the time
		case "file/map_full", "file/name_ring_full", "readback/not_kept":
			// Files of others, while nobody reads: that those of the load are all there, with their names, is for demand to say.
		default:
			t.Errorf("lost: %s: %d", what, n)
		}
	}
}
