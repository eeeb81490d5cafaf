// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ring reads a ring buffer (BPF_MAP_TYPE_RINGBUF) and gives its room back later than it reads, which ringbuf.Reader cannot:
// what was read and not released is there for the next agent. Positions are bytes since the ring was made.
type ring struct {
	// The page with the consumer's position, and the one with the producer's, behind which the data stand (kernel/bpf/ringbuf.c). They could be had
	// twice in a row, so that no record would be in two pieces; then each page counts twice as this process's memory.
	consumer, producer []byte
	data               []byte
	mask               uint64
	read               uint64
}

const (
	ringHeader  = 8
	ringBusy    = 1 << 31
	ringDiscard = 1 << 30
)

func openRing(m *ebpf.Map) (*ring, error) {
	size, page := int(m.MaxEntries()), os.Getpagesize()
	r := &ring{mask: uint64(size) - 1} //nolint:gosec // the kernel takes powers of two only
	var err error
	if r.consumer, err = unix.Mmap(m.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map the consumer's page of a ring: %w", err)
	}
	if r.producer, err = unix.Mmap(m.FD(), int64(page), page+size, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return nil, errors.Join(fmt.Errorf("map a ring of %d bytes: %w", size, err), unix.Munmap(r.consumer))
	}
	r.data = r.producer[page:]
	r.read = atomic.LoadUint64(position(r.consumer))
	return r, nil
}

func position(page []byte) *uint64 { return (*uint64)(unsafe.Pointer(&page[0])) }

// produced is the position behind all that was sent up to now.
func (r *ring) produced() uint64 { return atomic.LoadUint64(position(r.producer)) }

// next returns the next record, which is valid until it is released; false when there is none yet.
func (r *ring) next() ([]byte, bool) {
	for r.read != r.produced() {
		at := r.read & r.mask
		// The kernel clears the bit when the record is whole.
		head := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.data[at])))
		if head&ringBusy != 0 {
			return nil, false
		}
		length := uint64(head &^ ringDiscard)
		r.read += ringHeader + (length+7)&^7
		if head&ringDiscard == 0 {
			return r.slice(at+ringHeader, length), true
		}
	}
	return nil, false
}

// slice returns so many bytes from somewhere in the data, behind whose end comes their beginning: a copy, if those are two pieces.
func (r *ring) slice(from, length uint64) []byte {
	size := r.mask + 1
	if from+length <= size {
		return r.data[from : from+length]
	}
	b := make([]byte, 0, length)
	if from < size {
		b = append(b, r.data[from:]...)
	}
	return append(b, r.data[:length-uint64(len(b))]...)
}

// release gives the room of what was read, up to a position, back to the kernel side.
func (r *ring) release(upTo uint64) {
	atomic.StoreUint64(position(r.consumer), min(upTo, r.read))
}

func (r *ring) close() error {
	return errors.Join(unix.Munmap(r.producer), unix.Munmap(r.consumer))
}
