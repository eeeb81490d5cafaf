// SPDX-License-Identifier: Apache-2.0

// Package cgroup has workloads of every kind under the eyes of an agent, and looks whether each event has the right name, and each file the right
// storage class:
//
//	TestSystemd  units, logins, docker, podman, NFS, in a virtual machine with systemd: make test-cgroup2
//	TestCRIO     pods of a CRI-O, there and on this machine: make test-cgroup2, make test-crio
//	TestChurn    containers that come and go faster than a cluster on one machine makes them, and whether the agent's memory stays: make test-churn
//
// It is no part of `make test`, because it takes minutes.
package cgroup
