// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"encoding/json"
	"path/filepath"

	"github.com/spoor/spoor/agent/hostfs"
	"github.com/spoor/spoor/agent/recent"
)

const (
	// The type of volumes of drivers of the Container Storage Interface.
	csi = "csi"
	// How many of them are remembered.
	rememberedDriven = 1024
	// What kubelet writes beside the mount of one, before it is mounted (pkg/volume/csi), and how many bytes that may have.
	drivenData    = "vol_data.json"
	maxDrivenData = 64 << 10
)

// driven knows which volumes of drivers go with their pods: those that a pod has without a claim.
type driven struct {
	root string
	all  *recent.Map[Volume, bool]
}

func newDriven(root string) *driven {
	return &driven{root: root, all: recent.New[Volume, bool](rememberedDriven, 0)}
}

// passing says whether a volume goes with its pod. Dir is its folder, as the host sees it.
func (d *driven) passing(v Volume, dir string) bool {
	passes, known := d.all.Get(v)
	if known || v.Type != csi {
		return passes
	}
	var noted struct {
		VolumeLifecycleMode string
	}
	if text, err := (hostfs.Dir{Path: d.root, NoLinks: true}).Read(filepath.Join(dir, drivenData), maxDrivenData); err == nil && json.Unmarshal(text, &noted) == nil {
		passes = noted.VolumeLifecycleMode == "Ephemeral"
	}
	d.all.Put(v, passes)
	return passes
}
