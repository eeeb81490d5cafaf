// SPDX-License-Identifier: Apache-2.0

package act

import (
	"encoding/binary"
	"net/netip"
	"os"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"golang.org/x/sys/unix"
)

// otherSocketActs talk by what is neither TCP, UDP nor Unix sockets.
func otherSocketActs() []*Act {
	sctp := conversation{
		listen: loopback4(), call: loopback4(), kind: spoorv1.Transport_TRANSPORT_SCTP, protocol: unix.IPPROTO_SCTP, callProtocol: unix.IPPROTO_SCTP,
	}
	return []*Act{
		sctp.act("sctp4", "one SCTP conversation over IPv4", needSocket("SCTP", unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP)),
		{
			Name: "raw4-icmp", Group: GroupNetwork,
			Summary: "ask for an echo through a raw socket (ICMP), as ping does",
			needs:   []need{needSocket("raw sockets", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)},
			run:     rawEcho,
		},
	}
}

// rawEcho sends an ICMP echo request (RFC 792) to the loopback address, where the kernel answers it.
func rawEcho(s *stage) error {
	conn, err := newSocket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptTimeval(conn.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		return os.NewSyscallError("setsockopt SO_RCVTIMEO", err)
	}
	const (
		echoReply, echo = 0, 8
		ipHeader        = 20
		headerBytes     = 8
	)
	request := make([]byte, headerBytes, headerBytes+requestBytes)
	request[0] = echo
	id := uint16(os.Getpid())
	binary.BigEndian.PutUint16(request[4:], id)
	request = append(request, fill(newByte, requestBytes)...)
	binary.BigEndian.PutUint16(request[2:], internetChecksum(request))
	to := netip.AddrPortFrom(loopback4(), 0)
	if err := unix.Sendto(conn.fd, request, 0, sockaddr(to)); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	// The socket gets every ICMP message, its own request among them.
	answer := make([]byte, block)
	for {
		var n int
		if err := uninterrupted(func() (err error) {
			n, _, err = unix.Recvfrom(conn.fd, answer, 0)
			return err
		}); err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
		if n == ipHeader+len(request) && answer[ipHeader] == echoReply && binary.BigEndian.Uint16(answer[ipHeader+4:]) == id {
			break
		}
	}
	s.cleanup(conn.close)
	return s.talked(Flow{Direction: outbound, Local: to, Peer: to, Sent: int64(len(request)), Received: int64(len(request))})
}

// internetChecksum is that of RFC 1071.
func internetChecksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
