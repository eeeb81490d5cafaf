// SPDX-License-Identifier: Apache-2.0

// Package deploy holds what watches Spoor itself, for the test that compares it with what Spoor exports: that may run in a machine
// that has no source tree.
package deploy

import "embed"

// Monitoring are the alert rules and the dashboards.
//
//go:embed prometheus/*.yaml grafana/*.json
var Monitoring embed.FS
