// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"encoding/binary"
	"errors"
	"strings"
	"time"
)

// encoder writes rows in ClickHouse's format RowBinary: columns one after the other, numbers with their lowest byte first, strings with their
// length in front.
type encoder struct {
	b    []byte
	rows int
}

func (e *encoder) u8(n uint8)   { e.b = append(e.b, n) }
func (e *encoder) u32(n uint32) { e.b = binary.LittleEndian.AppendUint32(e.b, n) }
func (e *encoder) u64(n uint64) { e.b = binary.LittleEndian.AppendUint64(e.b, n) }
func (e *encoder) i64(n int64)  { e.u64(uint64(n)) }

func (e *encoder) text(s string) {
	e.b = binary.AppendUvarint(e.b, uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) bytes(s []byte) {
	e.b = binary.AppendUvarint(e.b, uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) flag(b bool) {
	if b {
		e.u8(1)
		return
	}
	e.u8(0)
}

// seconds is a DateTime, which reaches from 1970 to 2106.
func (e *encoder) seconds(t time.Time) {
	e.u32(uint32(min(max(t.Unix(), 0), int64(maxSeconds))))
}

const maxSeconds = ^uint32(0)

// errShort: the server sent something else than what was asked for.
var errShort = errors.New("clickhouse: an answer ends in the middle of a row")

// decoder reads RowBinary. After the first error everything is zero; err says so at the end.
type decoder struct {
	b   []byte
	err error
}

// more reports whether there is another row.
func (d *decoder) more() bool { return d.err == nil && len(d.b) > 0 }

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.b, d.err = nil, errShort
		return nil
	}
	taken := d.b[:n]
	d.b = d.b[n:]
	return taken
}

func (d *decoder) u8() uint8 {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) flag() bool { return d.u8() != 0 }

func (d *decoder) u32() uint32 {
	if b := d.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) i64() int64 { return int64(d.u64()) }

// bytes are part of the answer: they stay as long as anything of it does.
func (d *decoder) bytes() []byte {
	n, size := binary.Uvarint(d.b)
	if size <= 0 {
		d.b, d.err = nil, errShort
		return nil
	}
	d.b = d.b[size:]
	return d.take(n)
}

func (d *decoder) text() string { return string(d.bytes()) }

var escapes = strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\x00", `\0`)

// quote makes a literal of any bytes.
func quote(s string) string { return "'" + escapes.Replace(s) + "'" }

// like makes a literal for LIKE of a pattern in which * stands for anything and all else for itself.
func like(glob string) string {
	return quote(strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`, `*`, `%`).Replace(glob))
}
