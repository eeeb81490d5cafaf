// SPDX-License-Identifier: Apache-2.0

// Package workload says who a process belongs to: the container, systemd unit or login session that its cgroup stands for.
//
// It reads cgroup paths and nothing else; it knows no processes and no events.
package workload

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spoor/spoor/agent/kernel"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// The kinds of workload that need no Kubernetes.
const (
	KindUnit      = "Unit"
	KindContainer = "Container"
	KindSession   = "Session"
	KindKernel    = "Kernel"
	KindHost      = "Host"
)

// How many cgroups are remembered, dead ones too: their last events come after them.
const remembered = 16384

// Resolver names the instance behind a cgroup id. It is not safe for concurrent use.
type Resolver struct {
	cluster, node, bootID string
	mount                 string
	instances             *lru.LRU[uint64, *spoorv1.Instance]
	host, kernel          *spoorv1.Instance
	evicted               uint64
}

// Options of a Resolver.
type Options struct {
	Cluster, Node, BootID string
	// Where the cgroup v2 hierarchy is mounted; "" looks it up in /proc/self/mountinfo.
	Mount string
}

// New returns a Resolver that knows every cgroup that exists now.
func New(o Options) (*Resolver, error) {
	r := &Resolver{cluster: o.Cluster, node: o.Node, bootID: o.BootID, mount: o.Mount}
	var err error
	r.instances, err = lru.NewLRU(remembered, func(uint64, *spoorv1.Instance) { r.evicted++ })
	if err != nil {
		return nil, fmt.Errorf("remember cgroups: %w", err)
	}
	r.host = r.instance(0, "/", Owner{Kind: KindHost, Name: o.Node}, time.Time{})
	r.kernel = r.instance(1, "", Owner{Kind: KindKernel, Name: "kernel"}, time.Time{})
	if r.mount == "" {
		if r.mount, err = kernel.CgroupMount(); err != nil {
			return nil, err
		}
	}
	r.Scan()
	return r, nil
}

// Scan walks the cgroup tree and learns what it does not know.
func (r *Resolver) Scan() {
	if r.mount == "" {
		return
	}
	//nolint:errcheck // a cgroup that vanishes while it is walked is simply not learnt
	filepath.WalkDir(r.mount, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil {
			return nil
		}
		if _, known := r.instances.Get(st.Ino); !known {
			r.Learn(st.Ino, strings.TrimPrefix(path, r.mount), time.Unix(st.Ctim.Unix()))
		}
		return nil
	})
}

// Learn says that the cgroup with this id has this path below the v2 mount, since start.
func (r *Resolver) Learn(id uint64, path string, start time.Time) {
	if path == "" {
		path = "/"
	}
	owner := OwnerOf(path)
	if owner.Kind == KindHost {
		r.instances.Add(id, r.host)
		return
	}
	r.instances.Add(id, r.instance(id, path, owner, start))
}

// Of returns the instance of the cgroup with this id; tgid is a process in it, asked when the cgroup is not known yet.
func (r *Resolver) Of(id uint64, tgid uint32, kernelThread bool) *spoorv1.Instance {
	if kernelThread {
		return r.kernel
	}
	if in, ok := r.instances.Get(id); ok {
		return in
	}
	if path, err := v2Path(tgid); err == nil {
		r.Learn(id, path, time.Time{})
		if in, ok := r.instances.Get(id); ok {
			return in
		}
	}
	return r.host
}

// Host returns the instance that stands for the node itself.
func (r *Resolver) Host() *spoorv1.Instance { return r.host }

// Evicted returns how many cgroups were forgotten for want of room.
func (r *Resolver) Evicted() uint64 { return r.evicted }

func (r *Resolver) instance(id uint64, path string, o Owner, start time.Time) *spoorv1.Instance {
	in := &spoorv1.Instance{
		Workload:    &spoorv1.Workload{Cluster: r.cluster, Namespace: r.node, Kind: o.Kind, Name: o.Name},
		CgroupId:    id,
		CgroupPath:  path,
		ContainerId: o.ContainerID,
		PodUid:      o.PodUID,
	}
	if !start.IsZero() {
		in.StartTime = timestamppb.New(start)
	}
	sum := sha256.New()
	sum.Write([]byte(r.node))
	sum.Write([]byte{0})
	sum.Write([]byte(r.bootID))
	sum.Write(binary.LittleEndian.AppendUint64(nil, id))
	in.Id = strings.ToLower(base32.StdEncoding.EncodeToString(sum.Sum(nil)[:10]))
	return in
}

// v2Path returns the path of a process's cgroup in the v2 hierarchy (cgroups(7), line "0::").
func v2Path(tgid uint32) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", tgid))
	if err != nil {
		return "", fmt.Errorf("read the cgroup of process %d: %w", tgid, err)
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return path, nil
		}
	}
	return "", fmt.Errorf("read the cgroup of process %d: no v2 line", tgid)
}
