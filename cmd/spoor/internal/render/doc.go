// SPDX-License-Identifier: Apache-2.0

// Package render turns answers of the query service into text for people: tables, sentences, trees, stories
// and one JSON object a line.
//
// Everything here is a pure function of messages and a Style, so that a golden file can hold it. The package
// must not know where the messages come from, whether the output is a terminal, or what command was typed.
//
// The messages describe hostile processes. No byte of theirs reaches the output unescaped: see Printable.
package render
