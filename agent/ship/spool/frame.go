// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// The form of a segment, all numbers little-endian:
//
//	segment  magic [8]byte, length uint32, checksum uint32 (of owner), owner [length]byte, frame...
//	frame    head [headBytes]byte, payload [length]byte
//	head     length uint32, records uint32, number uint64, acknowledged uint64,
//	         checksum uint32 (of payload), checksum uint32 (of the head before it)
//
// The last digit of magic is the version of the form.
const (
	magic       = "spoorsp1"
	prefixBytes = len(magic) + 8
	headBytes   = 32
	// MaxPayload is far above what an agent puts into one batch: a length beyond it is damage.
	MaxPayload = 64 << 20
	// maxOwner bounds what says whose a segment is.
	maxOwner = 64 << 10
)

// errDamaged: these bytes are not what was written.
var errDamaged = errors.New("damaged")

// errCut: the bytes end before they should.
var errCut = fmt.Errorf("%w: cut short", errDamaged)

// errForeign: a file that no version known here has written.
var errForeign = errors.New("not a segment of a form that is known here")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// head describes the frame that it begins.
type head struct {
	length, records      uint32
	number, acknowledged uint64
	payload              uint32 // its checksum
}

// appendFrame appends one frame to b.
func appendFrame(b []byte, h head, payload []byte) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload))) //nolint:gosec // at most MaxPayload, which Append checks
	b = binary.LittleEndian.AppendUint32(b, h.records)
	b = binary.LittleEndian.AppendUint64(b, h.number)
	b = binary.LittleEndian.AppendUint64(b, h.acknowledged)
	b = binary.LittleEndian.AppendUint32(b, checksum(payload))
	b = binary.LittleEndian.AppendUint32(b, checksum(b[at:]))
	return append(b, payload...)
}

// parseHead reads what appendFrame wrote first; b has headBytes.
func parseHead(b []byte) (head, error) {
	h := head{
		length: binary.LittleEndian.Uint32(b), records: binary.LittleEndian.Uint32(b[4:]), number: binary.LittleEndian.Uint64(b[8:]),
		acknowledged: binary.LittleEndian.Uint64(b[16:]), payload: binary.LittleEndian.Uint32(b[24:]),
	}
	if checksum(b[:headBytes-4]) != binary.LittleEndian.Uint32(b[headBytes-4:]) || h.length > MaxPayload || h.number == 0 {
		return head{}, errDamaged
	}
	return h, nil
}

// appendPrefix appends the beginning of a segment.
func appendPrefix(b, owner []byte) []byte {
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(owner))) //nolint:gosec // at most maxOwner, which Open checks
	b = binary.LittleEndian.AppendUint32(b, checksum(owner))
	return append(b, owner...)
}

// readPrefix reads what appendPrefix wrote.
func readPrefix(r io.Reader) (owner []byte, err error) {
	b := make([]byte, prefixBytes)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, cut(err)
	}
	if string(b[:len(magic)]) != magic {
		return nil, errForeign
	}
	length := binary.LittleEndian.Uint32(b[len(magic):])
	if length > maxOwner {
		return nil, errDamaged
	}
	owner = make([]byte, length)
	if _, err := io.ReadFull(r, owner); err != nil {
		return nil, cut(err)
	}
	if checksum(owner) != binary.LittleEndian.Uint32(b[len(magic)+4:]) {
		return nil, errDamaged
	}
	return owner, nil
}

// cut tells an end that comes too early from an error of the disk.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errCut
	}
	return err
}

// scan reads all frames of a segment behind its prefix. Frames whose head is sound and whose payload is not are given with
// sound false; after a head that is damaged nothing can be found, and scan ends with errDamaged. It returns how many bytes
// were sound frames, and frames that were damaged among others. A frame that is cut short is given, too, when its head is
// there.
func scan(r io.Reader, each func(h head, offset int64, sound bool)) (read int64, err error) {
	b := make([]byte, headBytes)
	sum := crc32.New(castagnoli)
	for {
		switch n, err := io.ReadFull(r, b); {
		case n == 0 && errors.Is(err, io.EOF):
			return read, nil
		case err != nil:
			return read, cut(err)
		}
		h, err := parseHead(b)
		if err != nil {
			return read, err
		}
		sum.Reset()
		if _, err := io.CopyN(sum, r, int64(h.length)); err != nil {
			if err = cut(err); errors.Is(err, errCut) {
				each(h, read, false)
			}
			return read, err
		}
		each(h, read, sum.Sum32() == h.payload)
		read += headBytes + int64(h.length)
	}
}
