// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"cmp"
	"time"

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
}

// NewInstance returns an Instance of which everything is known.
func NewInstance(proto *spoorv1.Instance) *Instance { return &Instance{proto: proto} }

// Proto returns what is known. It must not be changed.
func (in *Instance) Proto() *spoorv1.Instance { return in.proto }

// Pending reports whether the name of the workload is on its way.
func (in *Instance) Pending() bool { return in.pending }

func (in *Instance) want() Want {
	return Want{ContainerID: in.owner.ContainerID, PodUID: in.owner.PodUID, User: in.owner.User}
}

// named returns a copy of proto that says what c tells. A nil pod is a container outside Kubernetes.
func named(proto *spoorv1.Instance, node string, c *Container, pod *Pod, by Controller) *spoorv1.Instance {
	p := &spoorv1.Instance{
		Id: proto.GetId(), CgroupId: proto.GetCgroupId(), CgroupPath: proto.GetCgroupPath(),
		ContainerId: proto.GetContainerId(), PodUid: proto.GetPodUid(), StartTime: proto.GetStartTime(),
		Workload: &spoorv1.Workload{Cluster: proto.GetWorkload().GetCluster(), Namespace: node, Kind: KindContainer},
	}
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
