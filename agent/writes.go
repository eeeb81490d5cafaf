// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spoor/spoor/agent/footprint"
	"github.com/spoor/spoor/agent/process"
	"github.com/spoor/spoor/agent/sensor"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// writeKey is what a footprint of files is kept by: who changed which inode.
type writeKey struct {
	who   sensor.Who
	inode sensor.Inode
}

type write struct {
	sensor.Write
	process *process.Process
}

// Bytes of the paths of files, and of changed names, whose next event is scheduled.
const waitingPaths = 16 << 20

func newWrites(size int) (*footprint.Coalescer[writeKey, write], error) {
	return footprint.New[writeKey](footprint.Options[write]{
		Size: size, Min: minPause, Max: maxPause,
		Bytes: waitingPaths, Weigh: func(w *write) int { return len(w.Path) },
		Merge: func(into *write, later write) {
			first, before, changes := into.First, into.SizeBefore, into.Changes
			path, cut := into.Path, into.PathCut
			later.Data = later.Data || into.Data
			later.Uncertain = later.Uncertain && into.Uncertain
			*into = later
			into.First, into.SizeBefore, into.Changes = first, before, changes+later.Changes
			if into.Path == "" { // the later name was lost
				into.Path, into.PathCut = path, cut
			}
		},
	})
}

// readWrites takes what changed in the interval that ended.
func (a *Agent) readWrites(now time.Time) error {
	add := func(w *sensor.Write) { a.addWrite(now, w) }
	err := a.file.Read(func(w *sensor.Write) {
		if !a.authors.doubts(w, a.clock.Time(w.First)) {
			add(w)
		}
	})
	a.authors.settle(add)
	return err
}

func (a *Agent) addWrite(now time.Time, w *sensor.Write) {
	a.authors.wrote(w)
	a.changes.wrote(w)
	p := a.table.Get(w.Who, w.CgroupID)
	a.table.Moved(p, w.CgroupID)
	a.storage.Learn(w.MntNS, w.Who.Tgid) // while the process lives
	a.writes.Add(now, writeKey{w.Who, w.Inode}, write{Write: *w, process: p})
}

func (a *Agent) tellWrite(w *write) {
	place := a.storage.Locate(w.MntNS, w.Who.Tgid, w.Inode.Dev, w.Path)
	size, links := w.SizeAfter, w.Links
	// Some file systems announce a change before they carry it out, and names change: the file itself is asked.
	if now, n, ok := a.storage.Stat(place, w.Inode.Number); ok {
		size, links = now, n
	} else if found, ok := a.storage.Find(w.Inode.Dev, w.Inode.Number, w.Inode.Generation); ok {
		size, links = found.Size, found.Links
		if found.Path != "" {
			w.Path, w.PathCut = found.Path, false
			place = a.storage.Locate(w.MntNS, w.Who.Tgid, w.Inode.Dev, w.Path)
		}
	} else if to := a.changes.movedTo(w.Inode); to != "" && !a.changes.isGone(w.Inode) {
		w.Path, w.PathCut = to, false
		place = a.storage.Locate(w.MntNS, w.Who.Tgid, w.Inode.Dev, w.Path)
		if now, n, ok := a.storage.Stat(place, w.Inode.Number); ok {
			size, links = now, n
		}
	} else if links == 1 && a.changes.isGone(w.Inode) {
		links = 0
	}
	a.changes.isTold(w.Inode)
	path := place.Path
	if path == "" || w.PathCut { // no mount of the process shows it: the path within the file system is the best name there is
		path = w.Path
	}
	f := &spoorv1.File{
		Dev: w.Inode.Dev, Inode: w.Inode.Number, Generation: w.Inode.Generation,
		FsType: place.FSType, StorageClass: classFor(&place, w.process.Instance), PathTruncated: w.PathCut, Unlinked: links == 0,
	}
	f.Path, f.PathRaw = exact(path)
	f.Volume = volumeOf(&place)
	if place.HostPath != path && !w.PathCut {
		f.HostPath, _ = exact(place.HostPath)
	}
	a.noteWrite(w, f, place.HostPath)
	a.add(a.clock.Time(w.Last), w.process.Proto, w.process.Instance, &spoorv1.Record{
		Fact: &spoorv1.Record_FileWrite{FileWrite: &spoorv1.FileWrite{
			File:       f,
			First:      timestamppb.New(a.clock.Time(w.First)),
			Last:       timestamppb.New(a.clock.Time(w.Last)),
			Changes:    w.Changes,
			SizeBefore: w.SizeBefore,
			SizeAfter:  size,
			Data:       w.Data || (links > 0 && size != w.SizeBefore), // an inode that goes away loses its size, too
		}},
	})
}

// exact returns s as a valid protobuf string, and its bytes when the two differ.
func exact(s string) (string, []byte) {
	if utf8.ValidString(s) {
		return s, nil
	}
	return strings.ToValidUTF8(s, "\uFFFD"), []byte(s)
}
