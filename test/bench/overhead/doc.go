// SPDX-License-Identifier: Apache-2.0

// Command overhead measures what an agent costs the programs of the machine that it watches: the time of single
// operations with the agent off and on, in turns within one run.
//
//	overhead [flags] [-- AGENT COMMAND...]
//
// Each round measures both states, in changing order; in each state the operations take turns in slices of some tens
// of milliseconds. The smallest of many slices is what an operation costs when nothing else disturbs it, and the ratio
// of the two smallest is the number to look at; the medians say what was typical, on this machine and with its
// neighbours. A run with -noop has no agent in either state: what its ratios differ from 1 is noise, and an overhead
// below that has not been measured.
//
// The operations are system calls made on one locked thread on one CPU, with the garbage collector off. The agent is
// real, with its user-space side, and runs wherever the scheduler puts it. That it is on is known from its readiness
// address and from the BPF programs that it holds; that it is off, from its end and from those programs being gone.
package main
