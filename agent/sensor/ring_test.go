// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
)

// TestRing writes records of all lengths as the kernel does, round and round, and reads them.
func TestRing(t *testing.T) {
	const size = 256
	r := &ring{consumer: make([]byte, 8), producer: make([]byte, 8), data: make([]byte, size), mask: size - 1}
	var want [][]byte
	end := uint64(0)
	send := func(content []byte, flags uint32) {
		record := binary.NativeEndian.AppendUint32(nil, uint32(len(content))|flags)
		record = append(append(record, 0, 0, 0, 0), content...)
		for i, b := range record {
			r.data[(end+uint64(i))&r.mask] = b
		}
		end += ringHeader + (uint64(len(content))+7)&^7
		atomic.StoreUint64(position(r.producer), end)
		if flags&ringDiscard == 0 {
			want = append(want, content)
		}
	}
	for n := range size - 2*ringHeader {
		for turn := range 3 {
			want = nil
			send(bytes.Repeat([]byte{byte(n), byte(turn)}, n/2), 0)
			if n < 100 {
				send([]byte("given up"), ringDiscard)
				send(fmt.Appendf(nil, "behind %d", n), 0)
			}
			for _, w := range want {
				if got, ok := r.next(); !ok || !bytes.Equal(got, w) {
					t.Fatalf("a record of %d bytes at %d is %q, %t; want %q", len(w), r.read&r.mask, got, ok, w)
				}
			}
			if got, ok := r.next(); ok {
				t.Fatalf("nothing was sent, and %q is there", got)
			}
			r.release(r.read)
			if at := atomic.LoadUint64(position(r.consumer)); at != end {
				t.Fatalf("released up to %d of %d", at, end)
			}
		}
	}
	send([]byte("in the making"), ringBusy)
	if got, ok := r.next(); ok {
		t.Errorf("a record that is in the making is told: %q", got)
	}
}
