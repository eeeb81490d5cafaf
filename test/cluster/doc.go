// SPDX-License-Identifier: Apache-2.0

// Package cluster runs the shop of test/shop in a real Kubernetes of two nodes, which it starts on this machine, with an
// agent for each and a collector, and compares every event with what the shop's services say that they did.
//
// `make test-cluster` runs it; it is no part of `make test`, because building Kubernetes takes a quarter of an hour once.
package cluster
