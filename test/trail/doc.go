// SPDX-License-Identifier: Apache-2.0

// Package trail follows what a user does from the kernel to the answer: it starts `spoor up`, does things for real, and
// asks the collector what was seen, as the command line does.
package trail
