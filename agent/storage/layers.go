// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"strings"
	"sync"
	"time"

	"github.com/spoor/spoor/agent/recent"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const (
	// How many folders of writable layers are remembered: two a container.
	rememberedLayers = 32768
	// How long those are that are mounted no more: facts of a container come some seconds after its end.
	layersAge = time.Minute
)

// layers remembers the upper directories of the overlays that the host has, or had: runtimes mount a container's root file
// system in the host's view before they start it. So a container's file is known as such also when the container was gone
// before anybody could look at its own mounts. It is safe for concurrent use.
type layers struct {
	mu sync.Mutex
	// By path; whether it is the container's root, not the folder beside it that the overlay works in.
	dirs *recent.Map[string, bool]
}

func newLayers() *layers { return &layers{dirs: recent.New[string, bool](rememberedLayers, layersAge)} }

func (l *layers) learn(mounts []Mount) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range mounts {
		if m.UpperDir != "" && m.Point != "/" { // that of the host itself is no container's
			l.remember(m.UpperDir, true)
			l.remember(m.WorkDir, false)
		}
	}
}

// remember keeps a copy: dir is a part of all that was read of the mounts, which would stay with it.
func (l *layers) remember(dir string, root bool) {
	if _, known := l.dirs.Get(dir); !known {
		l.dirs.Put(strings.Clone(dir), root)
	}
}

func (l *layers) has(upper string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dirs.Has(upper)
}

// locate says where a container sees the file at p.HostPath, if that is in the layer of one. What an overlay makes for its own
// work has no place in the container.
func (l *layers) locate(p *Place) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at := p.HostPath; at != ""; at = at[:strings.LastIndexByte(at, '/')] {
		root, known := l.dirs.Get(at)
		if !known {
			continue
		}
		p.Path, p.Class = p.HostPath, spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER
		if root {
			p.Path = join("/", p.HostPath[len(at):])
		}
		return true
	}
	return false
}
