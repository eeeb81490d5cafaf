// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Exit codes, as those of the command line: 2 for bad usage, 3 when something failed.
const (
	exitUsage  = 2
	exitFailed = 3
)

// errUsage marks what the user can put right; the flag package has said what.
var errUsage = errors.New("bad usage")

type settings struct {
	plan
	cpu                 int
	noop, anywhere      bool
	only, output, clock string
	without             string
	tmpfs, ext4         string
	readyURL, readyLine string
	agent               []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(exitUsage)
	default:
		fmt.Fprintln(os.Stderr, "overhead:", err)
		os.Exit(exitFailed)
	}
}

func parse(args []string, errs io.Writer) (*settings, error) {
	s := &settings{}
	f := flag.NewFlagSet("overhead", flag.ContinueOnError)
	f.SetOutput(errs)
	f.IntVar(&s.rounds, "rounds", 10, "how often the agent is started and stopped")
	f.IntVar(&s.slices, "slices", 40, "slices of each operation in each state of a round")
	f.DurationVar(&s.length, "slice", 10*time.Millisecond, "length of a slice")
	f.IntVar(&s.cpu, "cpu", runtime.NumCPU()-1, "CPU on which the operations run")
	f.BoolVar(&s.noop, "noop", false, "run no agent: show the noise")
	f.StringVar(&s.clock, "clock", "wall", "wall, or cpu: the time that the measuring thread had a CPU, for machines with busy\nneighbours; fork+exec+exit, which is more than one process, stays on the wall's")
	f.StringVar(&s.only, "only", "", "only these operations, separated by commas")
	f.StringVar(&s.without, "without", "", "sensors that bin/spoor up leaves out, separated by commas")
	f.StringVar(&s.output, "o", "table", "table or json")
	f.StringVar(&s.tmpfs, "tmpfs", "/dev/shm", "directory on a tmpfs")
	f.StringVar(&s.ext4, "ext4", "/var/tmp", "directory on an ext4")
	f.BoolVar(&s.anywhere, "anywhere", false, "take these two directories whatever file systems they are on")
	f.StringVar(&s.readyURL, "ready-url", "", "address that answers 200 when the agent watches")
	f.StringVar(&s.readyLine, "ready-line", "", "part of a line that the agent prints when it watches")
	f.Usage = func() {
		fmt.Fprint(errs, `usage: overhead [flags] [-- AGENT COMMAND...]

Measures what an agent costs the programs of this machine. Without a command it is bin/spoor up. Needs root.

`)
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, errUsage
	}
	s.agent = f.Args()
	complain := func(text string) (*settings, error) {
		fmt.Fprintln(errs, "overhead:", text)
		return nil, errUsage
	}
	switch {
	case s.rounds < 1 || s.slices < 1 || s.length <= 0:
		return complain("-rounds, -slices and -slice must be more than 0")
	case s.output != "table" && s.output != "json":
		return complain("-o is table or json, not " + s.output)
	case s.clock != "wall" && s.clock != "cpu":
		return complain("-clock is wall or cpu, not " + s.clock)
	case s.noop && len(s.agent) > 0:
		return complain("with -noop there is no agent, so it has no command")
	case len(s.agent) > 0 && (s.readyURL == "") == (s.readyLine == ""):
		return complain("a command needs one of -ready-url and -ready-line, to know when its agent watches")
	case s.without != "" && len(s.agent) > 0:
		return complain("-without is for bin/spoor up: write it into the command")
	case len(s.agent) == 0 && s.readyURL+s.readyLine != "":
		return complain("-ready-url and -ready-line are about a command, which is missing")
	}
	return s, nil
}

func run(ctx context.Context, args []string, out, errs io.Writer) (err error) {
	s, err := parse(args, errs)
	if err != nil {
		return err
	}
	p, remove, err := makePlaces(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	w, err := s.watcher(p)
	if err != nil {
		return err
	}
	r, err := newReport(s.agent)
	if err != nil {
		return err
	}
	ops, err := operations(p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll(ops)) }()
	chosen, err := choose(ops, s.only)
	if err != nil {
		return err
	}
	if s.clock == "cpu" {
		for _, op := range chosen {
			if !op.processes {
				op.clock = unix.CLOCK_THREAD_CPUTIME_ID
			}
		}
	}
	r.Clock = s.clock
	var results []samples
	if err := undisturbed(s.cpu, func() error {
		results, err = measure(ctx, s.plan, w, chosen, func(text string) { fmt.Fprintln(errs, text) })
		return err
	}); err != nil {
		return err
	}
	for i, op := range chosen {
		r.Rows = append(r.Rows, newRow(op.name, results[i]))
	}
	r.LoadAfter = loadAverage()
	if s.output == "json" {
		return r.writeJSON(out)
	}
	return r.writeTable(out)
}

// makePlaces makes a directory of our own on each file system; remove removes them.
func makePlaces(s *settings) (p places, remove func() error, err error) {
	err = errors.Join(onFileSystem(s.tmpfs, unix.TMPFS_MAGIC, "tmpfs"), onFileSystem(s.ext4, unix.EXT4_SUPER_MAGIC, "ext4"))
	if err != nil && !s.anywhere {
		return p, nil, fmt.Errorf("%w (or take what there is, with -anywhere)", err)
	}
	if p.tmpfs, err = os.MkdirTemp(s.tmpfs, "spoor-overhead-"); err != nil {
		return p, nil, err
	}
	if p.ext4, err = os.MkdirTemp(s.ext4, "spoor-overhead-"); err != nil {
		return p, nil, errors.Join(err, os.RemoveAll(p.tmpfs))
	}
	return p, func() error { return errors.Join(os.RemoveAll(p.tmpfs), os.RemoveAll(p.ext4)) }, nil
}

func onFileSystem(dir string, magic int64, name string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if st.Type != magic {
		return fmt.Errorf("%s is not on %s: name a directory that is with -%s", dir, name, name)
	}
	return nil
}

// watcher is the agent as the settings have it; the command that is run goes to s.agent.
func (s *settings) watcher(p places) (agent, error) {
	if s.noop {
		return noAgent{}, nil
	}
	if len(s.agent) == 0 {
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		s.agent = []string{"bin/spoor", "up", "--quiet", "--data", p.ext4 + "/data", "--listen", address}
		if s.without != "" {
			s.agent = append(s.agent, "--without", s.without)
		}
		s.readyURL = "http://" + address + "/readyz"
	}
	return &watcher{command: s.agent, readyURL: s.readyURL, readyLine: s.readyLine}, nil
}

// freeAddress is a loopback address at which nobody listens now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// choose picks the operations that are named.
func choose(ops []*operation, only string) ([]*operation, error) {
	if only == "" {
		return ops, nil
	}
	var chosen []*operation
	for name := range strings.SplitSeq(only, ",") {
		before := len(chosen)
		var names []string
		for _, op := range ops {
			names = append(names, op.name)
			if op.name == name {
				chosen = append(chosen, op)
			}
		}
		if len(chosen) == before {
			return nil, fmt.Errorf("there is no operation %q; there are %s", name, strings.Join(names, ", "))
		}
	}
	return chosen, nil
}

// undisturbed calls f on one thread, which is bound to a CPU, with no garbage collection.
func undisturbed(cpu int, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("run on CPU %d: %w", cpu, err)
	}
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	return errors.Join(f(), os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &before)))
}
