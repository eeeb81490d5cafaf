// SPDX-License-Identifier: Apache-2.0

package joints

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// envRole makes TestMain a server or a client, in the directory and with the abstract name that are its arguments.
const envRole = "SPOOR_TEST_JOINTS"

// experimental is an IP protocol that nobody uses (RFC 3692).
const experimental = 253

// inherited is the descriptor of a socket pair's end.
const inherited = 3

var roles = map[string]func(dir, abstract string) error{"server": serve, "client": connectAll, "streamer": connectStream}

// wait says that everything is in place, and keeps it there until the test is over.
func wait(held ...io.Closer) error {
	fmt.Fprintln(os.Stdout, "ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	for _, c := range held {
		err = errors.Join(err, c.Close())
	}
	return err
}

func serve(dir, abstract string) error {
	// Bound by a name that means nothing to others.
	if err := os.Chdir(dir); err != nil {
		return err
	}
	stream, err := net.Listen("unix", "stream")
	if err != nil {
		return err
	}
	packets, err := net.Listen("unixpacket", abstract)
	if err != nil {
		return err
	}
	datagrams, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "datagrams", Net: "unixgram"})
	if err != nil {
		return err
	}
	for _, l := range []net.Listener{stream, packets} {
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return // closed
				}
				if _, err := c.Write([]byte("hello")); err != nil {
					fmt.Fprintln(os.Stderr, err)
				}
				// Left open until the process ends.
			}
		}()
	}
	raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, experimental)
	if err != nil {
		return fmt.Errorf("raw socket: %w", err)
	}
	return wait(stream, packets, datagrams, os.NewFile(uintptr(raw), "raw"), os.NewFile(inherited, "pair"))
}

func connectAll(dir, abstract string) error {
	stream, err := connect("unix", dir+"/stream")
	if err != nil {
		return err
	}
	packets, err := connect("unixpacket", abstract)
	if err != nil {
		return err
	}
	datagrams, err := net.Dial("unixgram", dir+"/datagrams")
	if err != nil {
		return err
	}
	raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, experimental)
	if err != nil {
		return fmt.Errorf("raw socket: %w", err)
	}
	return wait(stream, packets, datagrams, os.NewFile(uintptr(raw), "raw"), os.NewFile(inherited, "pair"))
}

func connectStream(dir, _ string) error {
	c, err := connect("unix", dir+"/stream")
	if err != nil {
		return err
	}
	return wait(c)
}

// connect returns when the connection was accepted.
func connect(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	_, err = c.Read(make([]byte, 5))
	return c, err
}
