// SPDX-License-Identifier: Apache-2.0

// Package cgroup makes containers come and go under the eyes of an agent, faster than a cluster on one machine does, and looks whether each
// event has the right name, and whether the agent's memory stays.
//
// `make test-churn` runs it; it is no part of `make test`, because it takes minutes.
package cgroup
