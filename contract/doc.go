// SPDX-License-Identifier: Apache-2.0

// Package contract holds what people have agreed about a workload and decides what breaks it.
//
// A [Contract] says in one YAML document whether a workload may keep state, where it may write for a
// while, what it listens on, who may call it and whom it may call. [Parse] and [Load] read contracts
// strictly and report every problem with file, line, column and what to write instead; a [Set] finds
// the contract of a workload; a [Judge] turns a stream of events into verdicts. docs/contracts.md
// tells users about the format, docs/rules.md about each rule.
//
// The package is pure: it opens no file, asks no clock, starts no goroutine and logs nothing. Time is
// the time of events and what [Judge.Tick] is given, so the same code judges live events, a recording
// and stored history. It must not know where events come from or what becomes of verdicts: besides
// the words of package spoorv1 it imports only a YAML parser and a path matcher.
//
// YAML is read with github.com/goccy/go-yaml's lexer and parser, and decoded here by walking its syntax
// tree: a decoder that stops at the first unknown field, or loses the position of a value that is
// well-formed and wrong, cannot give the errors that a contract's author needs.
package contract
