// SPDX-License-Identifier: Apache-2.0

package act

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"golang.org/x/sys/unix"
)

const (
	// socketFile is the name of a socket in the act's directory.
	socketFile = "socket"
	// sunPathMax is the longest path that a socket address holds (unix(7)), without the NUL.
	sunPathMax = 107
	// suffixMax is more than os.MkdirTemp adds to a name.
	suffixMax = 10
)

// unixActs join two processes by a Unix socket, which stays open until the act is over.
func unixActs() []*Act {
	return []*Act{{
		Name: "unix-stream", Group: GroupNetwork, Lasting: true, Joins: true,
		Summary: "a conversation over a Unix stream socket that has a path",
		needs:   []need{needShortPath("unix-stream")},
		run:     unixClient(unix.SOCK_STREAM, false),
		roles:   map[string]func(*stage) error{"server": unixServer(unix.SOCK_STREAM)},
	}, {
		Name: "unix-seqpacket", Group: GroupNetwork, Lasting: true, Joins: true,
		Summary: "a conversation over a Unix seqpacket socket that has a path",
		needs:   []need{needShortPath("unix-seqpacket")},
		run:     unixClient(unix.SOCK_SEQPACKET, false),
		roles:   map[string]func(*stage) error{"server": unixServer(unix.SOCK_SEQPACKET)},
	}, {
		Name: "unix-abstract", Group: GroupNetwork, Lasting: true, Joins: true,
		Summary: "a conversation over a Unix stream socket in the abstract name space",
		run:     unixClient(unix.SOCK_STREAM, true),
		roles:   map[string]func(*stage) error{"server": unixServer(unix.SOCK_STREAM)},
	}, {
		Name: "unix-datagram", Group: GroupNetwork, Lasting: true, Joins: true,
		Summary: "a datagram over a connected Unix socket, as syslog(3) sends them",
		needs:   []need{needShortPath("unix-datagram")},
		run:     unixSend,
		roles:   map[string]func(*stage) error{"server": unixReceive},
	}}
}

func needShortPath(name string) need {
	return func(dir string) (string, error) {
		n := len(filepath.Join(dir, name+"-"+strings.Repeat("0", suffixMax), socketFile))
		if n > sunPathMax {
			return fmt.Sprintf("a socket below %s would have a path of up to %d bytes, and a socket address holds %d", dir, n, sunPathMax), nil
		}
		return "", nil
	}
}

func unixClient(kind int, abstract bool) func(*stage) error {
	return func(s *stage) error {
		name := s.path(socketFile)
		if abstract {
			name = "@spoor-act-" + strconv.Itoa(os.Getpid())
		}
		server, err := s.helper("server")
		if err != nil {
			return err
		}
		if err := server.send(message{Text: name}); err != nil {
			return err
		}
		if _, err := server.hear(); err != nil {
			return err
		}
		conn, err := newSocket(unix.AF_UNIX, kind, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(conn.fd, &unix.SockaddrUnix{Name: name}); err != nil {
			return os.NewSyscallError("connect", err)
		}
		if err := conn.send(requestBytes); err != nil {
			return err
		}
		if err := conn.receive(replyBytes); err != nil {
			return err
		}
		s.cleanup(conn.close)
		return s.joined(name, server.pid())
	}
}

func unixServer(kind int) func(*stage) error {
	return func(s *stage) error {
		m, err := s.hear()
		if err != nil {
			return err
		}
		l, err := newSocket(unix.AF_UNIX, kind, 0)
		if err != nil {
			return err
		}
		if err := unix.Bind(l.fd, &unix.SockaddrUnix{Name: m.Text}); err != nil {
			return os.NewSyscallError("bind", err)
		}
		if err := l.listen(); err != nil {
			return err
		}
		s.cleanup(l.close)
		id, err := netns()
		if err != nil {
			return err
		}
		s.expect(Expectation{Kind: Listening, Listen: &Listen{
			Transport: spoorv1.Transport_TRANSPORT_UNIX, Socket: m.Text, Netns: id,
		}})
		if err := s.tell(message{}); err != nil {
			return err
		}
		conn, err := l.accept()
		if err != nil {
			return err
		}
		if err := conn.receive(requestBytes); err != nil {
			return err
		}
		if err := conn.send(replyBytes); err != nil {
			return err
		}
		s.cleanup(conn.close)
		return s.joined(m.Text, os.Getppid())
	}
}

func unixSend(s *stage) error {
	name := s.path(socketFile)
	server, err := s.helper("server")
	if err != nil {
		return err
	}
	if err := server.send(message{Text: name}); err != nil {
		return err
	}
	if _, err := server.hear(); err != nil {
		return err
	}
	conn, err := newSocket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(conn.fd, &unix.SockaddrUnix{Name: name}); err != nil {
		return os.NewSyscallError("connect", err)
	}
	if err := conn.send(requestBytes); err != nil {
		return err
	}
	s.cleanup(conn.close)
	if err := s.joined(name, server.pid()); err != nil {
		return err
	}
	_, err = server.hear()
	return err
}

func unixReceive(s *stage) error {
	m, err := s.hear()
	if err != nil {
		return err
	}
	conn, err := newSocket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(conn.fd, &unix.SockaddrUnix{Name: m.Text}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	s.cleanup(conn.close)
	if err := s.tell(message{}); err != nil {
		return err
	}
	if err := conn.receive(requestBytes); err != nil {
		return err
	}
	if err := s.joined(m.Text, os.Getppid()); err != nil {
		return err
	}
	return s.tell(message{})
}

// joined says that a Unix socket connects this process with another.
func (s *stage) joined(name string, other int) error {
	share := &Share{Kind: spoorv1.Share_KIND_SOCKET, OtherTgid: other, What: "unix", Socket: name}
	if !strings.HasPrefix(name, "@") {
		f, err := identify(name)
		if err != nil {
			return err
		}
		share.Object = f
	}
	s.expect(Expectation{Kind: Sharing, Share: share})
	return nil
}
