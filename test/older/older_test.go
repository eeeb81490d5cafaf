// SPDX-License-Identifier: Apache-2.0

package older

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spoor/spoor/agent"
	"github.com/spoor/spoor/agent/watch"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// envRole makes this program the one that is older; its only argument is a file.
const envRole = "SPOOR_TEST_OLDER"

const (
	bytesBefore, bytesAfter = 100, 1000
	patience                = time.Minute
)

func TestMain(m *testing.M) {
	if os.Getenv(envRole) != "" {
		if err := service(os.Args[1], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// service has a file and a connection with itself open before it says on which port, and uses them after it read a line.
func service(path string, in io.Reader, out io.Writer) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	client, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		return err
	}
	server, err := l.Accept()
	if err != nil {
		return err
	}
	if err := talk(client, server, bytesBefore); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, l.Addr().(*net.TCPAddr).Port); err != nil {
		return err
	}
	if _, err := bufio.NewReader(in).ReadString('\n'); err != nil {
		return err
	}
	if _, err := file.WriteString("written by one who is older than the agent"); err != nil {
		return err
	}
	if err := talk(client, server, bytesAfter); err != nil {
		return err
	}
	for _, c := range []io.Closer{client, server, l, file} {
		if err := c.Close(); err != nil {
			return err
		}
	}
	return nil
}

func talk(from, to net.Conn, n int) error {
	if _, err := from.Write(make([]byte, n)); err != nil {
		return err
	}
	_, err := io.ReadFull(to, make([]byte, n))
	return err
}

// told is what is known of the one process that is watched.
type told struct {
	mu    sync.Mutex
	tgid  uint32
	found bool // told as one that was there before
	path  string
	wrote bool
	port  uint32
	// Of listeners: told of, and closed. Of flows: the sums of what was told.
	listening, stopped bool
	flows              map[spoorv1.Direction]*spoorv1.Flow
}

func (s *told) keep(ev *spoorv1.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ev.GetProcess().GetTgid() != s.tgid {
		return
	}
	switch fact := ev.GetFact().(type) {
	case *spoorv1.Event_ProcessStart:
		s.found = s.found || fact.ProcessStart.GetCause() == spoorv1.ProcessStart_CAUSE_FOUND
	case *spoorv1.Event_FileWrite:
		s.wrote = s.wrote || fact.FileWrite.GetFile().GetPath() == s.path
	case *spoorv1.Event_Listen:
		if fact.Listen.GetLocal().GetPort() == s.port {
			s.listening = s.listening || !fact.Listen.GetClosed()
			s.stopped = s.stopped || fact.Listen.GetClosed()
		}
	case *spoorv1.Event_Flow:
		f := s.flows[fact.Flow.GetDirection()]
		if f == nil {
			f = &spoorv1.Flow{}
			s.flows[fact.Flow.GetDirection()] = f
		}
		f.Opened += fact.Flow.GetOpened()
		f.Closed += fact.Flow.GetClosed()
		f.BytesSent += fact.Flow.GetBytesSent()
		f.BytesReceived += fact.Flow.GetBytesReceived()
	}
}

// missing names what was not told yet, or told wrongly.
func (s *told) missing() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	const all = bytesBefore + bytesAfter
	out, in := s.flows[spoorv1.Direction_DIRECTION_OUTBOUND], s.flows[spoorv1.Direction_DIRECTION_INBOUND]
	var missing []string
	for what, ok := range map[string]bool{
		"the process, as found":            s.found,
		"the listener":                     s.listening,
		"the end of the listener":          s.stopped,
		"the write":                        s.wrote,
		"the connection, from its client":  out.GetOpened() == 0 && out.GetClosed() == 1 && out.GetBytesSent() == all,
		"the connection, from its server":  in.GetOpened() == 0 && in.GetClosed() == 1 && in.GetBytesReceived() == all,
		"no bytes that nobody sent, there": out.GetBytesReceived() == 0 && in.GetBytesSent() == 0,
	} {
		if !ok {
			missing = append(missing, what)
		}
	}
	slices.Sort(missing)
	return missing
}

func TestWhatIsOlderThanTheAgentIsTold(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", path)
	cmd.Env, cmd.Stderr = append(os.Environ(), envRole+"=service"), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &told{tgid: uint32(cmd.Process.Pid), path: path, flows: map[spoorv1.Direction]*spoorv1.Flow{}}
	if _, err := fmt.Fscan(out, &s.port); err != nil {
		t.Fatal(err)
	}
	w, err := watch.Start(t.Context(), agent.Options{Interval: 100 * time.Millisecond}, s.keep)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
	})
	if _, err := fmt.Fprintln(in); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		missing := s.missing()
		if len(missing) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not told: %q; the flows are %v", missing, s.flows)
		}
	}
}
