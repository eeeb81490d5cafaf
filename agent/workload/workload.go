// SPDX-License-Identifier: Apache-2.0

// Package workload says who a process belongs to: the container, systemd unit or login session that its cgroup stands
// for; and of a container, its name, its pod and who made that.
//
// A Resolver reads cgroups; what they cannot tell comes from Sources (container runtimes, the API server), through a
// Directory. The package knows no processes and no events.
package workload

// The kinds of workload that need no Kubernetes, and that of a pod which nobody but a person made.
const (
	KindUnit      = "Unit"
	KindContainer = "Container"
	KindSession   = "Session"
	KindKernel    = "Kernel"
	KindHost      = "Host"
	KindPod       = "Pod"
)

// Sandbox is the container name of what holds a pod's namespaces: kubelet's name for it.
const Sandbox = "POD"
