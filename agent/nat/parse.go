// SPDX-License-Identifier: Apache-2.0

package nat

import (
	"encoding/binary"
	"iter"
	"net/netip"
)

// Attributes of include/uapi/linux/netfilter/nfnetlink_conntrack.h.
const (
	ctaTupleOrig  = 1
	ctaTupleReply = 2

	ctaTupleIP    = 1
	ctaTupleProto = 2

	ctaIPv4Src = 1
	ctaIPv4Dst = 2
	ctaIPv6Src = 3
	ctaIPv6Dst = 4

	ctaProtoNum     = 1
	ctaProtoSrcPort = 2
	ctaProtoDstPort = 3

	// struct nfgenmsg
	headerSize = 4
	// Of an attribute's type, the bits that are flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
	typeMask = 1<<14 - 1
)

type tuple struct {
	protocol uint8
	src, dst netip.AddrPort
}

// parse reads one connection; ok is false of those that are not translated.
func parse(message []byte) (Connection, Translation, bool) {
	if len(message) < headerSize {
		return Connection{}, Translation{}, false
	}
	var there, back tuple
	for kind, content := range attributes(message[headerSize:]) {
		switch kind {
		case ctaTupleOrig:
			there = parseTuple(content)
		case ctaTupleReply:
			back = parseTuple(content)
		}
	}
	if !there.valid() || !back.valid() || there.src == back.dst && there.dst == back.src {
		return Connection{}, Translation{}, false
	}
	return Connection{there.protocol, there.src, there.dst}, Translation{Client: back.dst, Server: back.src}, true
}

func (t tuple) valid() bool {
	return t.src.Addr().IsValid() && t.dst.Addr().IsValid() && t.src.Port() != 0 && t.dst.Port() != 0
}

func parseTuple(b []byte) tuple {
	var t tuple
	var src, dst netip.Addr
	var from, to uint16
	for kind, content := range attributes(b) {
		for inner, value := range attributes(content) {
			switch {
			case kind == ctaTupleIP && (inner == ctaIPv4Src || inner == ctaIPv6Src):
				src, _ = netip.AddrFromSlice(value)
			case kind == ctaTupleIP && (inner == ctaIPv4Dst || inner == ctaIPv6Dst):
				dst, _ = netip.AddrFromSlice(value)
			case kind == ctaTupleProto && inner == ctaProtoNum && len(value) == 1:
				t.protocol = value[0]
			case kind == ctaTupleProto && inner == ctaProtoSrcPort && len(value) == 2:
				from = binary.BigEndian.Uint16(value)
			case kind == ctaTupleProto && inner == ctaProtoDstPort && len(value) == 2:
				to = binary.BigEndian.Uint16(value)
			}
		}
	}
	t.src, t.dst = netip.AddrPortFrom(src.Unmap(), from), netip.AddrPortFrom(dst.Unmap(), to)
	return t
}

// attributes goes through netlink attributes (struct nlattr: length with header, type; aligned to 4 bytes) until they make no
// sense.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	const header, alignment = 4, 4
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= header {
			n := int(binary.NativeEndian.Uint16(b))
			if n < header || n > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:])&typeMask, b[header:n]) {
				return
			}
			b = b[min((n+alignment-1)&^(alignment-1), len(b)):]
		}
	}
}
