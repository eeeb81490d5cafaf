// SPDX-License-Identifier: Apache-2.0

// Package examples holds the example contracts of this folder, so that tests can show that they do what their
// comments promise. Programs read contracts from folders that people give them.
package examples

import "embed"

// Files are the contracts.
//
//go:embed *.yaml
var Files embed.FS
