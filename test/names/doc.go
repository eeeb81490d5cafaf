// SPDX-License-Identifier: Apache-2.0

// Package names proves what the names sensor tells, by itself: every kind of change on each file system that is there, with
// and without what newer kernels tell; directories that are gone; file systems that come and go, here and in namespaces of
// their own; and that what is lost is counted.
package names
