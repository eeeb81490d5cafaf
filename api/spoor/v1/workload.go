// SPDX-License-Identifier: Apache-2.0

package spoorv1

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
