// SPDX-License-Identifier: Apache-2.0

// Package readback proves that what one life of a unit wrote and the next one reads is told once, with both lives, in every
// tier that this kernel has; and that what a unit does with its own files is nobody's business.
package readback
