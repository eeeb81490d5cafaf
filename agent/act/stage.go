// SPDX-License-Identifier: Apache-2.0

package act

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Roles that every act has.
const (
	roleActor = "actor"
	roleSetup = "setup"
)

// exitFailed is the exit code of a process that could not do its part; it has said why on its channel or on stderr.
const exitFailed = 3

// hung is how long a process may take for its part, until it holds. It guards against an act whose caller was killed.
const hung = 2 * time.Minute

// Main takes over when the process was started by an act: it plays its role and exits. Otherwise it returns at once.
// A program that uses the package must call it first in main or TestMain.
func Main() {
	value := os.Getenv(envRole)
	if value == "" {
		return
	}
	guard := time.AfterFunc(hung, func() {
		fmt.Fprintf(os.Stderr, "%s: still not done after %v\n", value, hung)
		os.Exit(exitFailed)
	})
	err := onMainThread(func() error { return play(value, guard) })
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitFailed)
	}
	os.Exit(0)
}

// onMainThread calls f on the thread whose id is the process's: what a process does is then done by its leader unless the
// act says otherwise. The scheduler may have moved us away from it. A thread dies with a goroutine that is locked to it, so
// each turn of the loop leaves one thread fewer that is not the right one.
func onMainThread(f func() error) error {
	for {
		right, result := make(chan bool), make(chan error)
		go func() {
			runtime.LockOSThread()
			if unix.Gettid() != unix.Getpid() {
				right <- false
				return
			}
			right <- true
			result <- f()
		}()
		if <-right {
			return <-result
		}
	}
}

// inThread calls f on a thread that is not the main one, which the caller is locked to.
func inThread(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		result <- f()
	}()
	return <-result
}

func play(value string, guard *time.Timer) error {
	name, role, ok := strings.Cut(value, "/")
	a := Find(name)
	if !ok || a == nil {
		return fmt.Errorf("%s=%q names no act: the variable is for processes that acts start", envRole, value)
	}
	part := a.roles[role]
	switch role {
	case roleActor:
		part = a.run
	case roleSetup:
		part = setup
	}
	if part == nil {
		return fmt.Errorf("act %s has no role %q", name, role)
	}
	s := &stage{act: a, role: role, up: channel{os.NewFile(channelFD, "channel")}, guard: guard}
	unix.CloseOnExec(channelFD)
	err := s.play(part)
	if err != nil {
		// The process that started this one prints it with the rest of the story.
		if sendErr := s.up.send(message{Err: err.Error()}); sendErr != nil {
			return errors.Join(err, sendErr)
		}
		os.Exit(exitFailed)
	}
	return nil
}

// stage is what a role has to do its part with. It belongs to the main thread.
type stage struct {
	act  *Act
	role string
	up   channel
	// dir is the act's own directory.
	dir     string
	cgroups map[string]string
	guard   *time.Timer

	// tgid, when set, is the id that the next copy gets.
	tgid int

	helpers          []*started
	forks            []*forked
	facts, forbidden []Expectation
	held             bool
	// cleanups run, last first, after the hold.
	cleanups []func() error
}

func (s *stage) play(part func(*stage) error) (err error) {
	m, err := s.up.receive()
	if err != nil {
		return fmt.Errorf("%s: %w", s.role, err)
	}
	if m.Config == nil {
		return fmt.Errorf("%s: the first message carries no configuration", s.role)
	}
	s.dir, s.cgroups = m.Config.Dir, m.Config.Cgroups
	if cgroup := s.cgroups[s.role]; cgroup != "" {
		if err := os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte("0"), 0); err != nil {
			return fmt.Errorf("enter cgroup: %w", err)
		}
	}
	defer func() {
		if err != nil {
			s.kill()
			return
		}
		for _, cleanup := range slices.Backward(s.cleanups) {
			err = errors.Join(err, cleanup())
		}
		for _, f := range s.forks {
			err = errors.Join(err, f.end())
		}
		for _, h := range s.helpers {
			err = errors.Join(err, h.end())
		}
	}()
	if m.Config.NewNetns {
		if err := furnishNetns(); err != nil {
			return err
		}
	}
	if err := part(s); err != nil {
		return err
	}
	return s.hold()
}

// kill ends, after a failure, whoever may wait for something that will not come.
func (s *stage) kill() {
	for _, f := range s.forks {
		f.kill()
	}
	for _, h := range s.helpers {
		h.kill()
	}
}

// hold says that this process's part is done, waits for those of its helpers, reports what happened and returns when it is
// time to end. A role need not call it: it is called for it.
func (s *stage) hold() error {
	if s.held {
		return nil
	}
	s.held = true
	for _, f := range s.forks {
		if err := f.wait(); err != nil {
			return err
		}
	}
	for _, h := range s.helpers {
		m, err := h.hear()
		if err != nil {
			return err
		}
		if !m.Done {
			return fmt.Errorf("%s said something that nobody waited for", h.role)
		}
		s.facts, s.forbidden = append(s.facts, m.Facts...), append(s.forbidden, m.Forbidden...)
	}
	s.guard.Stop()
	if err := s.up.send(message{Done: true, Facts: s.facts, Forbidden: s.forbidden}); err != nil {
		return err
	}
	if _, err := s.up.receive(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: waiting to be released: %w", s.role, err)
	}
	return nil
}

// path is the absolute name of a file in the act's directory.
func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

// expect says that something happened. Role and Tgid are this process's unless set.
func (s *stage) expect(e Expectation) { s.facts = append(s.facts, s.complete(e)) }

// forbid says that something did not happen.
func (s *stage) forbid(e Expectation) { s.forbidden = append(s.forbidden, s.complete(e)) }

func (s *stage) complete(e Expectation) Expectation {
	if e.Tgid == 0 {
		e.Tgid = os.Getpid()
	}
	if e.Role == "" {
		e.Role = s.role
	}
	return e
}

// cleanup registers f to run when the act is over.
func (s *stage) cleanup(f func() error) { s.cleanups = append(s.cleanups, f) }

// helper starts a process that plays another role; the files become its descriptors 4, 5, ...
func (s *stage) helper(role string, files ...*os.File) (*started, error) {
	return s.helperWith(startOptions{role: role, files: files})
}

func (s *stage) helperWith(o startOptions) (*started, error) {
	h, err := s.spawn(o)
	if err != nil {
		return nil, err
	}
	s.helpers = append(s.helpers, h)
	return h, nil
}

// spawn starts a process that the caller ends itself.
func (s *stage) spawn(o startOptions) (*started, error) {
	o.act, o.tied = s.act.Name, true
	h, err := startProcess(context.Background(), o)
	if err != nil {
		return nil, err
	}
	if err := h.send(message{Config: &config{Dir: s.dir, Cgroups: s.cgroups, NewNetns: o.ownNetns}}); err != nil {
		h.kill()
		return nil, err
	}
	return h, nil
}

// tell and hear exchange news with the process that started this one.
func (s *stage) tell(m message) error { return s.up.send(m) }

func (s *stage) hear() (message, error) {
	m, err := s.up.receive()
	if err != nil {
		return m, fmt.Errorf("%s: %w", s.role, err)
	}
	return m, nil
}

// content of prepared files, and what acts write over it.
const (
	oldByte = 'o'
	newByte = 'n'
)

func fill(b byte, n int) []byte {
	content := make([]byte, n)
	for i := range content {
		content[i] = b
	}
	return content
}

// prepared is how a file is left by the process that prepares it.
type prepared bool

const (
	// clean: its pages and its inode are on disk.
	clean prepared = false
	// dirty: they were changed a moment ago.
	dirty prepared = true
)

// prepare has another process make a file of n bytes, so that what this one does can be told apart. It returns the path.
func (s *stage) prepare(name string, n int, state prepared) (string, error) {
	path := s.path(name)
	h, err := s.helper(roleSetup)
	if err != nil {
		return "", err
	}
	if err := h.send(message{Text: path, Number: int64(n), Flag: bool(state)}); err != nil {
		return "", err
	}
	if _, err := h.hear(); err != nil {
		return "", err
	}
	return path, nil
}

// setup is the role that prepares a file.
func setup(s *stage) error {
	m, err := s.hear()
	if err != nil {
		return err
	}
	fd, err := unix.Open(m.Text, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return &os.PathError{Op: "create", Path: m.Text, Err: err}
	}
	if err := writeAll(fd, fill(oldByte, int(m.Number))); err != nil {
		return &os.PathError{Op: "write", Path: m.Text, Err: err}
	}
	if prepared(m.Flag) == clean {
		if err := unix.Fsync(fd); err != nil {
			return &os.PathError{Op: "fsync", Path: m.Text, Err: err}
		}
	}
	if err := unix.Close(fd); err != nil {
		return &os.PathError{Op: "close", Path: m.Text, Err: err}
	}
	f, err := identify(m.Text)
	if err != nil {
		return err
	}
	s.expect(Expectation{Kind: FileChange, Setup: true, Operation: opCreate, File: f})
	if m.Number > 0 {
		s.expect(Expectation{Kind: FileWrite, Setup: true, File: f})
	}
	return s.tell(message{})
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func procFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
