// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"fmt"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// How many folders of writable layers are remembered: two a container.
const rememberedLayers = 32768

// layers remembers the upper directories of the overlays that the host has, or had: runtimes mount a container's root file
// system in the host's view before they start it. So a container's file is known as such also when the container was gone
// before anybody could look at its own mounts. It is safe for concurrent use.
type layers struct {
	// By path; whether it is the container's root, not the folder beside it that the overlay works in.
	dirs *lru.Cache[string, bool]
}

func newLayers() (layers, error) {
	dirs, err := lru.New[string, bool](rememberedLayers)
	if err != nil {
		return layers{}, fmt.Errorf("remember the layers of containers: %w", err)
	}
	return layers{dirs}, nil
}

func (l layers) learn(mounts []Mount) {
	for _, m := range mounts {
		if m.UpperDir != "" && m.Point != "/" { // that of the host itself is no container's
			l.remember(m.UpperDir, true)
			l.remember(m.WorkDir, false)
		}
	}
}

// remember keeps a copy: dir is a part of all that was read of the mounts, which would stay with it.
func (l layers) remember(dir string, root bool) {
	if _, known := l.dirs.Get(dir); !known {
		l.dirs.Add(strings.Clone(dir), root)
	}
}

func (l layers) has(upper string) bool { return l.dirs.Contains(upper) }

// locate says where a container sees the file at p.HostPath, if that is in the layer of one. What an overlay makes for its own
// work has no place in the container.
func (l layers) locate(p *Place) bool {
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
