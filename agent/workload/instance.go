// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Instance is one life of a workload, as far as it is known by now. It belongs to the goroutine of its Resolver.
type Instance struct {
	// Replaced when more is known, never changed: what was sent stays what it was.
	proto *spoorv1.Instance
	owner Owner
	// There is more to come, and events had better wait for it.
	pending bool
	// A process was seen in it.
	used bool
	// Since when events wait; zero before the first look.
	since time.Time
	// It stands for all that is not below Options.Below.
	elsewhere bool
}

// NewInstance returns an Instance of which everything is known.
func NewInstance(proto *spoorv1.Instance) *Instance { return &Instance{proto: proto} }

// Proto returns what is known. It must not be changed.
func (in *Instance) Proto() *spoorv1.Instance { return in.proto }

// Elsewhere reports whether it is outside of what the Resolver was told to look at.
func (in *Instance) Elsewhere() bool { return in.elsewhere }

// Pending reports whether the name of the workload is on its way.
func (in *Instance) Pending() bool { return in.pending }

// SetAddresses says which addresses its network namespace has.
func (in *Instance) SetAddresses(addresses []string) {
	if slices.Equal(in.proto.GetAddresses(), addresses) {
		return
	}
	in.proto = proto.CloneOf(in.proto)
	in.proto.Addresses = slices.Clone(addresses)
}

func (in *Instance) want() Want {
	return Want{ContainerID: in.owner.ContainerID, PodUID: in.owner.PodUID, User: in.owner.User}
}

// named returns a copy of known that says what c tells. A nil pod is a container outside Kubernetes.
func named(known *spoorv1.Instance, node string, c *Container, pod *Pod, by Controller, labels Labels) *spoorv1.Instance {
	p := &spoorv1.Instance{
		Id: known.GetId(), CgroupId: known.GetCgroupId(), CgroupPath: known.GetCgroupPath(),
		ContainerId: known.GetContainerId(), PodUid: known.GetPodUid(), StartTime: known.GetStartTime(),
		Addresses: known.GetAddresses(),
		Workload:  &spoorv1.Workload{Cluster: known.GetWorkload().GetCluster(), Namespace: node, Kind: KindContainer},
	}
	labels.write(p)
	if c != nil {
		p.ContainerId, p.ContainerName, p.RestartCount = c.ID, c.Name, c.Restarts
		p.Workload.Name = ofUser(c.User, cmp.Or(c.Service, c.Name, c.ID[:min(len(c.ID), 12)]))
		if p.GetStartTime() == nil && !c.Created.IsZero() {
			p.StartTime = timestamppb.New(c.Created)
		}
	}
	if pod != nil {
		p.PodUid, p.PodName = pod.UID, pod.Name
		p.Workload.Namespace, p.Workload.Kind, p.Workload.Name = pod.Namespace, by.Kind, by.Name
	}
	return p
}
