// SPDX-License-Identifier: Apache-2.0

// Package coverage proves what the agent sees: it does every act of package act for real, on each file system that is
// there, and looks for the events that tell it, by the right process. Its cells make up docs/coverage.md.
package coverage
