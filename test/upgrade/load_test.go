// SPDX-License-Identifier: Apache-2.0

package upgrade

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// done is what a load did, all of it by the process Tgid but the programs that it started.
type done struct {
	Tgid uint32
	// Files of 100 bytes, named 0 to Files-1, each written when it was made and again later.
	Files int
	// Bytes appended to the file "log".
	Log int
	// TCP connections, closed at both ends. Both ends are this process.
	Connections int
	// Programs run to their end.
	Execs int
}

// load works in dir until its standard input ends, then says what it did. The rates are far from what fills a map between
// two readings: what is missing afterwards was lost by whoever replaced the agent.
func load(dir string) error {
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- serve(l) }()
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	d := done{Tgid: uint32(os.Getpid())}
	var young []*os.File
	tick := time.NewTicker(4 * time.Millisecond)
	defer tick.Stop()
	for work := true; work; {
		f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(d.Files)), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		d.Files++
		young = append(young, f)
		if _, err := f.Write(make([]byte, 50)); err != nil {
			return err
		}
		if err := d.step(log, l.Addr().String()); err != nil {
			return err
		}
		if len(young) > ripe {
			if err := complete(young[0]); err != nil {
				return err
			}
			young = young[1:]
		}
		select {
		case <-stop:
			work = false
		case <-tick.C:
		}
	}
	for _, f := range young {
		<-tick.C
		if err := complete(f); err != nil {
			return err
		}
	}
	if err := errors.Join(log.Close(), l.Close(), <-served); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(d)
}

// A file is written for the last time so many ticks after it was made: tmpfs does not tell of what is written at once.
const ripe = 5

func complete(f *os.File) error {
	_, err := f.Write(make([]byte, 50))
	return errors.Join(err, f.Close())
}

func (d *done) step(log io.Writer, address string) error {
	n, err := fmt.Fprintln(log, "one more line", d.Files)
	if err != nil {
		return err
	}
	d.Log += n
	for range 3 {
		if err := call(address); err != nil {
			return err
		}
		d.Connections++
	}
	if d.Files%4 == 0 {
		if err := exec.Command("true").Run(); err != nil {
			return err
		}
		d.Execs++
	}
	return nil
}

// serve accepts connections and closes each when the other end has.
func serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, c) // ends with a reset
		_ = c.Close()
	}
}

// call ends its connection by a reset, so that no socket waits out its time and the ports last.
func call(address string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	if err := c.(*net.TCPConn).SetLinger(0); err != nil {
		return err
	}
	return c.Close()
}
