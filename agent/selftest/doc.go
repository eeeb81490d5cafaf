// SPDX-License-Identifier: Apache-2.0

// Package selftest proves what an agent sees on this very node: it runs one, does every act of package act under its eyes,
// and looks for the events that tell it, by the right process. What the agent is known not to see stands in a list, with
// the reason; everything else must be seen.
//
// `spoor selftest` shows its cells to whoever runs a node; test/coverage makes docs/coverage.md of them, kernel by kernel.
//
// It must not know any collector: the agent ships to a receiver in this package, over the real wire.
package selftest
