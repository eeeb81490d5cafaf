// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestCapacity(t *testing.T) {
	before := options
	t.Cleanup(func() { options = before })
	options.Rate, options.Flushes, options.Days, options.Cores, options.Disk, options.Memory, options.Most = 4, 2, 1, 2, 1e6, 1e6, 0.5
	options.EventCPU, options.BatchCPU, options.Writer, options.Bytes = 25, 50, 0.5, 100
	// A node takes 4*25 + 2*50 = 200 µs a second, half of it in the writer: 5,000 of them fill half of it, and half of two processors.
	if n, first := capacity(); n != 5000 {
		t.Errorf("one collector takes %d nodes before %s, want 5000", n, first)
	}
	options.Disk = 100 // GiB, of which half is 6,213 events a second for a day
	if n, first := capacity(); n != 1553 || first != "disk" {
		t.Errorf("with a small disk one collector takes %d nodes before %s, want 1553 before disk", n, first)
	}
}
