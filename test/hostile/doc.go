// SPDX-License-Identifier: Apache-2.0

// Package hostile does what a process may do that wants the agent gone, blind or confused: the longest names and arguments that the kernel
// takes, none of them UTF-8; a pipe where a file is expected; a table of mounts that takes long to read. The agent is a process of its own, as it is
// deployed, and has to stay within its memory and to go on telling of others.
//
// It needs root and a kernel that loads the programs.
package hostile
