// SPDX-License-Identifier: Apache-2.0

package act

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
)

// Tiny returns a static program of some 130 bytes that does nothing but exit with a code: the least that can be executed.
func Tiny(code uint8) ([]byte, error) {
	const (
		base       = 0x400000
		headerSize = 64
		loadSize   = 56
	)
	var machine uint16
	var text []byte
	switch runtime.GOARCH {
	case "amd64":
		machine = 62
		// mov edi, code; mov eax, 60 (exit); syscall
		text = []byte{0xbf, code, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05}
	case "arm64":
		machine = 183
		// mov x0, #code; mov x8, #93 (exit); svc #0
		for _, word := range []uint32{0xd2800000 | uint32(code)<<5, 0xd2800008 | 93<<5, 0xd4000001} {
			text = binary.LittleEndian.AppendUint32(text, word)
		}
	default:
		return nil, fmt.Errorf("no tiny program for %s", runtime.GOARCH)
	}
	size := uint64(headerSize + loadSize + len(text))
	// See elf(5): an ELF-64 header, one segment that is the whole file, and the text.
	header := struct {
		Ident                                                     [16]byte
		Type, Machine                                             uint16
		Version                                                   uint32
		Entry, Phoff, Shoff                                       uint64
		Flags                                                     uint32
		Ehsize, Phentsize, Phnum, Shentsize, Shnum, Shstrndx      uint16
		LoadType, LoadFlags                                       uint32
		LoadOffset, LoadVaddr, LoadPaddr, Filesz, Memsz, LoadAlgn uint64
	}{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, Type: 2, Machine: machine, Version: 1,
		Entry: base + headerSize + loadSize, Phoff: headerSize, Ehsize: headerSize, Phentsize: loadSize, Phnum: 1,
		LoadType: 1, LoadFlags: 5, LoadVaddr: base, LoadPaddr: base, Filesz: size, Memsz: size, LoadAlgn: 0x10000,
	}
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, header); err != nil {
		return nil, fmt.Errorf("tiny program: %w", err)
	}
	b.Write(text)
	return b.Bytes(), nil
}
