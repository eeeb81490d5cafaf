// SPDX-License-Identifier: Apache-2.0

// Package owners opens more connections at once than there are places for, and looks what is left in the kernel of whose they were when
// they are closed: nothing.
package owners
