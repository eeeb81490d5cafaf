// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
)

// The file format of bbolt (go.etcd.io/bbolt, internal/common: page.go, meta.go, bucket.go), version 2, on machines whose bytes are in this
// order. Its own library maps the file and trusts it; what is read here may be a user's.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	boltHeader  = 16 // of a page, of each of its elements, and of a bucket
	boltBranch  = 1  // flags of a page
	boltLeaf    = 2
	boltBucket  = 1 // flag of an element of a leaf: the value is a bucket
	maxBoltDeep = 16
)

var boltOrder = binary.LittleEndian

// bolt is a database that was read as a whole.
type bolt struct {
	data     []byte
	pageSize uint64
}

// boltValue returns the value of the last of some keys, which lies in a bucket below those before it. False where that is not in the database, or
// the database is none.
func boltValue(data []byte, keys ...string) ([]byte, bool) {
	b := &bolt{data: data}
	page, ok := b.root()
	for i := 0; ok && i < len(keys); i++ {
		var value []byte
		var bucket bool
		value, bucket, ok = b.find(page, []byte(keys[i]), maxBoltDeep)
		switch {
		case !ok || i == len(keys)-1:
			return value, ok && !bucket
		case !bucket || len(value) < boltHeader:
			return nil, false
		}
		if id := boltOrder.Uint64(value); id != 0 {
			page, ok = b.page(id)
		} else {
			page = value[boltHeader:] // a small one lies within its value
		}
	}
	return nil, false
}

// root returns the page of the outermost bucket, by the newest of the two meta pages that was written whole.
func (b *bolt) root() ([]byte, bool) {
	if len(b.data) < boltHeader+64 {
		return nil, false
	}
	newest, id := uint64(0), uint64(0)
	size := uint64(boltOrder.Uint32(b.data[boltHeader+8:]))
	if size < 512 || size > 1<<16 {
		return nil, false
	}
	b.pageSize = size
	for n := range uint64(2) {
		page, ok := b.page(n)
		if !ok || len(page) < boltHeader+64 {
			continue
		}
		meta := page[boltHeader:]
		sum := fnv.New64a()
		sum.Write(meta[:56])
		if boltOrder.Uint32(meta) == boltMagic && boltOrder.Uint32(meta[4:]) == boltVersion && boltOrder.Uint64(meta[56:]) == sum.Sum64() {
			if tx := boltOrder.Uint64(meta[48:]); id == 0 || tx > newest {
				newest, id = tx, boltOrder.Uint64(meta[16:])
			}
		}
	}
	if id == 0 {
		return nil, false
	}
	return b.page(id)
}

// page returns a page with those that it overflows into.
func (b *bolt) page(id uint64) ([]byte, bool) {
	pages := uint64(len(b.data)) / b.pageSize
	if id >= pages {
		return nil, false
	}
	at := id * b.pageSize
	more := uint64(boltOrder.Uint32(b.data[at+12:]))
	if more >= pages-id {
		return nil, false
	}
	return b.data[at : at+(more+1)*b.pageSize], true
}

// find looks for a key below a page.
func (b *bolt) find(page, key []byte, deep int) (value []byte, bucket, ok bool) {
	if len(page) < boltHeader || deep == 0 {
		return nil, false, false
	}
	flags, count := boltOrder.Uint16(page[8:]), int(boltOrder.Uint16(page[10:]))
	if len(page) < boltHeader*(count+1) {
		return nil, false, false
	}
	var next uint64
	for i := range count {
		at := boltHeader * (i + 1)
		e := page[at : at+boltHeader]
		switch flags {
		case boltLeaf:
			name, rest, ok := cutBytes(page[at:], boltOrder.Uint32(e[4:]), boltOrder.Uint32(e[8:]))
			if !ok {
				return nil, false, false
			}
			if bytes.Equal(name, key) {
				value, _, ok := cutBytes(rest, 0, boltOrder.Uint32(e[12:]))
				return value, boltOrder.Uint32(e)&boltBucket != 0, ok
			}
		case boltBranch:
			first, _, ok := cutBytes(page[at:], boltOrder.Uint32(e), boltOrder.Uint32(e[4:]))
			if !ok {
				return nil, false, false
			}
			if i == 0 || bytes.Compare(first, key) <= 0 {
				next = boltOrder.Uint64(e[8:])
			}
		default:
			return nil, false, false
		}
	}
	if flags != boltBranch || count == 0 {
		return nil, false, false
	}
	below, ok := b.page(next)
	if !ok {
		return nil, false, false
	}
	return b.find(below, key, deep-1)
}

// cutBytes returns so many bytes from a place on, and what follows them.
func cutBytes(b []byte, from, n uint32) (part, rest []byte, ok bool) {
	begin, end := uint64(from), uint64(from)+uint64(n)
	if end > uint64(len(b)) {
		return nil, nil, false
	}
	return b[begin:end], b[end:], true
}
