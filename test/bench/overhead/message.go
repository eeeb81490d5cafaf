// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// messageTCP sends over one connection.
func messageTCP(places) (*operation, error) {
	listener, name, err := bound(unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(listener) }()
	if err := unix.Listen(listener, 1); err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(client, name); err != nil {
		return nil, errors.Join(os.NewSyscallError("connect", err), unix.Close(client))
	}
	server, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("accept4", err), unix.Close(client))
	}
	return message("TCP send+receive", client, server)
}

// messageUDP sends from a socket that is not connected: the address goes with each datagram.
func messageUDP(places) (*operation, error) {
	server, name, err := bound(unix.SOCK_DGRAM)
	if err != nil {
		return nil, err
	}
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("socket", err), unix.Close(server))
	}
	op, err := message("UDP send+receive", client, server)
	if err != nil {
		return nil, err
	}
	buffer := make([]byte, bytesMoved)
	op.do = func() error {
		if err := unix.Sendto(client, buffer, 0, name); err != nil {
			return os.NewSyscallError("sendto", err)
		}
		_, _, err := unix.Recvfrom(server, buffer, 0)
		return os.NewSyscallError("recvfrom", err)
	}
	return op, nil
}

// bound makes a socket at a free port of the loopback device, and returns its address.
func bound(kind int) (int, unix.Sockaddr, error) {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, nil, errors.Join(os.NewSyscallError("bind", err), unix.Close(fd))
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, nil, errors.Join(os.NewSyscallError("getsockname", err), unix.Close(fd))
	}
	return fd, name, nil
}

// message sends bytesMoved over the loopback device and takes them out at the other end. Nothing about who talks with whom
// changes, so what it costs more is paid for each packet.
func message(name string, client, server int) (*operation, error) {
	buffer, err := memory(make([]byte, bytesMoved))
	if err != nil {
		return nil, errors.Join(err, unix.Close(client), unix.Close(server))
	}
	return &operation{name: name, do: func() error {
		for _, end := range []struct{ nr, fd uintptr }{{unix.SYS_WRITE, uintptr(client)}, {unix.SYS_READ, uintptr(server)}} {
			if n, err := call(end.nr, end.fd, address(buffer), bytesMoved, 0); err != nil || n != bytesMoved {
				return fmt.Errorf("%d bytes: %w", n, err)
			}
		}
		return nil
	}, close: func() error { return errors.Join(unix.Close(client), unix.Close(server), unix.Munmap(buffer)) }}, nil
}
