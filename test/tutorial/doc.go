// SPDX-License-Identifier: Apache-2.0

// Package tutorial types what docs/tutorial.md tells people to type, block by block, and looks at what comes of it. systemd-run and
// systemctl are stood in for, since they need a machine that systemd runs; ports and folders are others, so that nothing of the machine's own is
// in the way.
package tutorial
