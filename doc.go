// SPDX-License-Identifier: Apache-2.0

// Package spoor is the root of a runtime monitor for Linux: it sees what every process writes and whom it talks to,
// and says what nobody agreed to. There is no code here; this page is the map for a newcomer.
//
// Read in the order in which an event travels:
//
//	bpf/          the kernel side: eBPF programs in C, one sensor a file, with their compiled objects and Go bindings
//	agent/        the node side
//	  sensor/       loads the programs, reads what they found; the only importer of bpf
//	  process/      who runs: every process with its chain of parents
//	  workload/     whose it is: cgroup path -> systemd unit, container, session
//	  storage/      where a file is: device and path -> storage class
//	  footprint/    sums up what happens again and again
//	  ship/         sends events to the collector and waits for its acknowledgement
//	api/          the words that both sides share: protobuf messages, one service for agents, one for people, and the way to a collector
//	contract/     what a workload may do, as its owners agreed; parses contracts and judges events; pure
//	collector/    the centre
//	  ingest/       takes batches from agents; acknowledges what is durable
//	  store/        keeps events and findings, in SQLite
//	  finding/      turns verdicts into findings with a life of their own
//	  notify/       tells an Alertmanager
//	  query/        answers people
//	  web/          the page in the browser
//	cmd/          the two programs: spoor (everything) and spoor-agent (the agent and nothing else)
//
// Beside them: deploy/ (manifests, units, example contracts), docs/ (architecture, decisions, numbers), test/ (what
// needs a machine and root), tools/ (what builds and checks all this; see `make help`).
//
// Arrows point one way: cmd -> agent | collector -> contract -> api. The agent never imports the collector, nor the
// collector the agent. imports_test.go and .golangci.yml hold that.
//
// docs/architecture.md tells how the parts work together and what happens when one of them is missing.
package spoor
