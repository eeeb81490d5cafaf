// SPDX-License-Identifier: Apache-2.0

package act

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
)

// message is everything that two processes of an act say to each other. Paths in it are any bytes, which gob, unlike JSON, keeps.
type message struct {
	// Config is the first message to every process.
	Config *config
	// Done is the last message of a process: it has nothing more to do until it is told to end.
	Done bool
	// Err is why a process could not do its part.
	Err string

	// Facts and Forbidden go with Done.
	Facts, Forbidden []Expectation

	// The acts' own news.
	Addr   netip.AddrPort
	Text   string
	Number int64
	Flag   bool
	File   *File
}

// config is what a process is told at its start.
type config struct {
	Dir     string
	Cgroups map[string]string
	// NewNetns: the process is the first in its network namespace.
	NewNetns bool
}

// maxMessage bounds what a message may claim to be long: the longest carries the arguments of a process, at most 6 MiB in Linux.
const maxMessage = 16 << 20

// channel carries messages over one end of a stream socket. Each message is encoded by itself, so that a process
// may go on with the socket after an exec.
type channel struct{ f *os.File }

func (c channel) send(m message) error {
	var b bytes.Buffer
	b.Write(make([]byte, 4))
	if err := gob.NewEncoder(&b).Encode(m); err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	binary.BigEndian.PutUint32(b.Bytes(), uint32(b.Len()-4))
	if _, err := c.f.Write(b.Bytes()); err != nil {
		return fmt.Errorf("send message: %w", err)
	}
	return nil
}

// receive returns io.EOF when the other end was closed.
func (c channel) receive() (message, error) {
	var head [4]byte
	if _, err := io.ReadFull(c.f, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return message{}, io.EOF
		}
		return message{}, fmt.Errorf("receive message: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxMessage {
		return message{}, fmt.Errorf("receive message: %d bytes are more than %d", n, maxMessage)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.f, body); err != nil {
		return message{}, fmt.Errorf("receive message: %w", err)
	}
	var m message
	if err := gob.NewDecoder(bytes.NewReader(body)).Decode(&m); err != nil {
		return message{}, fmt.Errorf("decode message: %w", err)
	}
	return m, nil
}
