// SPDX-License-Identifier: Apache-2.0

package spoorv1

import "slices"

// nodeKinds are the kinds of workloads that are a node's own.
var nodeKinds = []string{"Unit", "Container", "Session", "Host", "Kernel"}

// NodeKinds returns the kinds of workloads that are a node's own: what runs there beside its pods, or where there are none. Their namespace
// is the node's name.
func NodeKinds() []string { return slices.Clone(nodeKinds) }

// IsNodeKind says whether a kind is one of NodeKinds.
func IsNodeKind(kind string) bool { return slices.Contains(nodeKinds, kind) }

// Same reports whether two workloads have the same name in the same place. Two that are nil do.
func (x *Workload) Same(other *Workload) bool {
	return x.GetName() == other.GetName() && x.GetKind() == other.GetKind() && x.GetNamespace() == other.GetNamespace() &&
		x.GetCluster() == other.GetCluster()
}

// Path is [CLUSTER/]NAMESPACE/KIND/NAME: as contracts name a workload, and as it can be asked for.
func (x *Workload) Path() string {
	path := x.GetNamespace() + "/" + x.GetKind() + "/" + x.GetName()
	if cluster := x.GetCluster(); cluster != "" {
		path = cluster + "/" + path
	}
	return path
}
