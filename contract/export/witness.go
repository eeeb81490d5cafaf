// SPDX-License-Identifier: Apache-2.0

package export

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/contract"
)

// Witness looks at what a workload did, for what would have failed with the root file system of a patch. It is not safe for concurrent use.
type Witness struct {
	set       *contract.Set
	contract  *contract.Contract
	container string
	writable  []string
	broken    map[wouldBreak]*attempts
	untold    int
}

// wouldBreak is a directory that would need a volume, and who writes there.
type wouldBreak struct{ dir, program string }

type attempts struct {
	n uint64
	// Some of what was written, generalised.
	paths []string
	last  time.Time
}

const (
	// maxBroken bounds how many directories and programs are told apart, and maxPaths how many paths of each are remembered.
	maxBroken = 200
	maxPaths  = 8
	// tellPaths is how many of those are told.
	tellPaths = 3
)

// Witness returns one for the patch of a contract; mounted are the directories where the container has volumes already.
func (p *ReadOnlyPatch) Witness(c *contract.Contract, mounted []string) (*Witness, error) {
	set, err := contract.NewSet(c)
	if err != nil {
		return nil, err
	}
	box := p.Spec.Template.Spec.Containers[0]
	w := &Witness{set: set, contract: c, container: box.Name, writable: slices.Clone(mounted), broken: map[wouldBreak]*attempts{}}
	for _, m := range box.VolumeMounts {
		w.writable = append(w.writable, m.MountPath)
	}
	return w, nil
}

// Observe takes an event.
func (w *Witness) Observe(ev *spoorv1.Event) {
	file, in, t := ev.GetFileWrite().GetFile(), ev.GetInstance(), ev.GetTime().AsTime()
	if change := ev.GetFileChange(); change != nil {
		file = change.GetFile()
	}
	name := file.GetPath()
	switch {
	case file.GetStorageClass() != spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER, !strings.HasPrefix(name, "/"), name == "/", below(w.writable, name):
	case strings.Contains(name, "/work/work/"): // an overlay's own
	case in.GetContainerName() != "" && in.GetContainerName() != w.container:
	case t.Before(ev.GetProcess().GetStartTime().AsTime()): // the runtime that prepared the container, which became the program
	case w.isAbout(in):
		w.count(name, cmp.Or(ev.GetProcess().GetExe(), ev.GetProcess().GetComm(), "an unknown process"), t)
	}
}

func (w *Witness) isAbout(in *spoorv1.Instance) bool {
	c, _ := w.set.For(in.GetWorkload(), contract.LabelsOf(in))
	return c == w.contract
}

func (w *Witness) count(name, program string, t time.Time) {
	name = string(contract.Generalise(name))
	key := wouldBreak{path.Dir(name), program}
	a := w.broken[key]
	if a == nil {
		if len(w.broken) >= maxBroken {
			w.untold++
			return
		}
		a = &attempts{}
		w.broken[key] = a
	}
	a.n++
	if !slices.Contains(a.paths, name) && len(a.paths) < maxPaths {
		a.paths = append(a.paths, name)
	}
	if t.After(a.last) {
		a.last = t
	}
}

// Limits lists what would have failed, by the directories that need a volume.
func (w *Witness) Limits() []Limit {
	dirs := map[string]bool{}
	for key := range w.broken {
		dirs[key.dir] = true
	}
	var limits []Limit
	for key, a := range w.broken {
		// An overlay makes a directory of its own of one in the image when something is written in it.
		paths := slices.DeleteFunc(slices.Clone(a.paths), func(p string) bool { return dirs[p] })
		if len(paths) == 0 {
			continue
		}
		limits = append(limits, Limit{key.dir, contract.Narrower, fmt.Sprintf("%s changed %s in %d events, the last at %s, and would have failed: it needs a volume there",
			key.program, strings.Join(paths[:min(len(paths), tellPaths)], ", "), a.n, a.last.UTC().Format(time.DateTime+" UTC"))})
	}
	slices.SortFunc(limits, func(a, b Limit) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Why, b.Why)) })
	if w.untold > 0 {
		limits = append(limits, Limit{"/**", contract.Narrower, fmt.Sprintf("%d more events in other directories would have failed", w.untold)})
	}
	return limits
}

// below says whether a path is one of some directories or lies in one.
func below(dirs []string, file string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool {
		dir = path.Clean(dir)
		return file == dir || strings.HasPrefix(file, strings.TrimSuffix(dir, "/")+"/")
	})
}
