// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spoor/spoor/agent/sensor"
	"github.com/spoor/spoor/agent/workload"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const (
	// How old the time of a file's last write may be in its note, while the same instance goes on writing it.
	noteAge = time.Minute
	// How often what is new is noted, and how much of it then: what is written and removed at once is not worth a note.
	noteEvery   = 2 * time.Second
	notesAtOnce = 1024
)

// writtenNote is a writtenFile as one agent leaves it to the next. What is not in it may be forgotten: another version reads it.
type writtenNote struct {
	Instance []byte    `json:"instance"` // spoor.v1.Instance
	ExecID   string    `json:"exec_id"`
	Cgroup   uint64    `json:"cgroup"`
	Last     time.Time `json:"last"`
	Path     []byte    `json:"path"` // any bytes
	FSType   string    `json:"fs_type"`
	HostPath []byte    `json:"host_path"`
}

// dueNote says that a file is to be noted soon, unless that was done less than a minute ago.
func (r *readback) dueNote(i sensor.Inode, f *writtenFile) {
	if r.notes != nil && f.last.Sub(f.noted) >= noteAge {
		r.due[i] = struct{}{}
	}
}

// noteSome leaves to the next agent what is due by now.
func (r *readback) noteSome(now time.Time) {
	if len(r.due) > 0 && now.Sub(r.noted) >= noteEvery {
		r.noted = now
		r.noteDue(notesAtOnce)
	}
}

// noteDue notes as many files, but for those whose writer has no name yet.
func (r *readback) noteDue(most int) {
	for i := range r.due {
		if most--; most < 0 {
			return
		}
		f, known := r.files.all.Peek(i)
		if known && f.instance.Pending() {
			continue
		}
		delete(r.due, i)
		if known && r.note(i, f) != nil {
			r.unnoted++
		}
	}
}

func (r *readback) note(i sensor.Inode, f *writtenFile) error {
	known := f.instance.Proto()
	instance, err := proto.Marshal(&spoorv1.Instance{Id: known.GetId(), Workload: known.GetWorkload(), CgroupId: known.GetCgroupId()})
	if err != nil {
		return fmt.Errorf("note who wrote a file: %w", err)
	}
	b, err := writtenNote{
		Instance: instance, ExecID: f.execID, Cgroup: f.cgroup, Last: f.last, Path: []byte(f.path), FSType: f.fsType, HostPath: []byte(f.hostPath),
	}.encode()
	if err != nil {
		return err
	}
	f.noted = f.last
	if err := r.notes.Put(i, b); err != nil { // what was noted before is not true any more
		return errors.Join(err, r.notes.Delete(i))
	}
	return nil
}

// recall watches again what earlier agents watched. A note that cannot be read is counted, as is a file for which there is no room any more.
func (r *readback) recall(root string) error {
	type noted struct {
		inode sensor.Inode
		file  *writtenFile
	}
	var all []noted
	err := r.notes.Read(func(i sensor.Inode, b []byte) {
		f, err := decodeNote(b)
		if err != nil {
			r.unreadable++
			return
		}
		all = append(all, noted{i, f})
	})
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b noted) int { return a.file.last.Compare(b.file.last) })
	for _, n := range all {
		r.evicted += r.files.put(n.inode, n.file)
	}
	for _, i := range r.files.all.Keys() {
		f, _ := r.files.all.Peek(i)
		w := f.watched(i, root)
		if _, err := os.Lstat(w.Path); !r.sensor.Watched() && errors.Is(err, fs.ErrNotExist) { // it went while nobody watched, which is told
			r.files.all.Remove(i)
			continue
		}
		if err := r.sensor.Watch(w); err != nil {
			return err
		}
	}
	return r.sensor.Keep(r.files.all.Contains)
}

func (n writtenNote) encode() ([]byte, error) {
	b, err := json.Marshal(n)
	if err != nil {
		return nil, fmt.Errorf("note who wrote a file: %w", err)
	}
	return b, nil
}

func decodeNote(b []byte) (*writtenFile, error) {
	var n writtenNote
	if err := json.Unmarshal(b, &n); err != nil {
		return nil, fmt.Errorf("note of a written file: %w", err)
	}
	in := &spoorv1.Instance{}
	if err := proto.Unmarshal(n.Instance, in); err != nil {
		return nil, fmt.Errorf("note of a written file: %w", err)
	}
	if in.GetId() == "" || n.Last.IsZero() {
		return nil, fmt.Errorf("note of a written file: it does not say who wrote it, or when")
	}
	return &writtenFile{
		instance: workload.NewInstance(in), execID: n.ExecID, cgroup: n.Cgroup, last: n.Last, noted: n.Last,
		path: string(n.Path), fsType: n.FSType, hostPath: string(n.HostPath),
	}, nil
}

func (f *writtenFile) watched(i sensor.Inode, root string) *sensor.WatchedFile {
	w := &sensor.WatchedFile{Inode: i, CgroupID: f.cgroup}
	if f.hostPath != "" {
		w.Path = root + f.hostPath
	}
	return w
}
