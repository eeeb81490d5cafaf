// SPDX-License-Identifier: Apache-2.0

// Package dns asks a real DNS server, in a network namespace of its own, and looks for the names in what an agent tells.
package dns
