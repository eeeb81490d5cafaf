// SPDX-License-Identifier: Apache-2.0

// Package bpf is the kernel side: one sensor a file, its compiled objects and their Go bindings.
//
// The C files are the truth: bpf2go compiles them and writes the Go types of every struct that crosses the boundary.
// Objects and bindings are committed, so that building Spoor needs no clang; `make generate` makes them again.
// Nothing but agent/sensor imports this package, and nothing here decides anything: it loads and names.
package bpf
