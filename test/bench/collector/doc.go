// SPDX-License-Identifier: Apache-2.0

// Command collector measures a collector, the program as it is shipped, in a process of its own, over loopback, with made-up agents
// that tell of a shop (test/bench/traffic):
//
//	throughput   how many events a second become durable, and what an event costs
//	connected    many agents at a time, each with a connection of its own and a few events a second: acknowledgements,
//	             and how soon an event shows in a query
//	queries      what people ask, over a store of many events
//
// The agents take their share of the same processors. Figures of the collector are of its process alone, but for the rate.
package main
