// SPDX-License-Identifier: Apache-2.0

package chaos_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is more than anything here takes, also on an emulated machine.
const patience = 3 * time.Minute

// role and settings are what this program is instead of a test, when it starts itself.
const role, settings = "SPOOR_CHAOS_ROLE", "SPOOR_CHAOS_SETTINGS"

func TestMain(m *testing.M) {
	roles := map[string]func(how part, ended <-chan struct{}) error{"agent": shipper, "proxy": proxy, "collector": centre}
	run, ok := roles[os.Getenv(role)]
	if !ok {
		os.Exit(m.Run())
	}
	var how part
	err := json.Unmarshal([]byte(os.Getenv(settings)), &how)
	if err == nil {
		err = run(how, ended(os.Stdin))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Getenv(role), err)
		os.Exit(1)
	}
	os.Exit(0)
}

// ended is closed when the input is: the test is over, or has died.
func ended(input io.Reader) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, input) // whatever ends it, it has ended
		close(over)
	}()
	return over
}

// part says how a process plays its role.
type part struct {
	// The agent's, or the collector's; the proxy's has the file in which the collector writes its address.
	Dir string
	// Of the agent; the URL also of a collector that forwards.
	Node, URL string
	// Nothing new is done, and nothing broken: what is there is brought to its end.
	Calm bool
}

// process is one life of a part.
type process struct {
	name  string
	cmd   *exec.Cmd
	input io.WriteCloser
	lines sync.WaitGroup
}

// spawn starts a process that inherits a file, where there is one, as number 3. What it prints goes to said.
func spawn(name, what string, how part, inherits *os.File, said func(line string)) (*process, error) {
	b, err := json.Marshal(how)
	if err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: exec.Command("/proc/self/exe")}
	p.cmd.Env = append(os.Environ(), role+"="+what, settings+"="+string(b))
	p.cmd.Stderr = os.Stderr
	if inherits != nil {
		p.cmd.ExtraFiles = []*os.File{inherits}
	}
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.lines.Go(func() {
		for s := bufio.NewScanner(output); s.Scan(); {
			said(s.Text())
		}
	})
	return p, nil
}

// kill ends it as the kernel would; it must not have ended before.
func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	p.lines.Wait()
	_ = p.cmd.Wait() // it was killed, and says so
	_ = p.input.Close()
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		return fmt.Errorf("%s ended by itself: %v", p.name, p.cmd.ProcessState)
	}
	return err
}

// end lets it come to its end in order; those that end by themselves are waited for.
func (p *process) end(byItself bool) error {
	if !byItself {
		_ = p.input.Close()
	}
	patient := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer patient.Stop()
	p.lines.Wait()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// victim is killed again and again.
type victim struct {
	name string
	// How long it lives at least and at most.
	least, most time.Duration
	start       func(calm bool) (*process, error)
	kills       int
}

// torment lets it live and kills it, at least so often, until everybody has been killed as often.
func (v *victim) torment(times int, begun *sync.WaitGroup, all <-chan struct{}) error {
	done := sync.OnceFunc(begun.Done)
	defer done()
	for {
		p, err := v.start(false)
		if err != nil {
			return err
		}
		// Any time is as good as another: that is the test.
		time.Sleep(v.least + rand.N(v.most-v.least))
		if err := p.kill(); err != nil {
			return err
		}
		if v.kills++; v.kills < times {
			continue
		}
		done()
		select {
		case <-all:
			return nil
		default:
		}
	}
}

// tormentAll kills all of them at once, each so often.
func tormentAll(t *testing.T, times int, victims []*victim) {
	t.Helper()
	var begun, over sync.WaitGroup
	all := make(chan struct{})
	errs := make(chan error, len(victims))
	begun.Add(len(victims))
	for _, v := range victims {
		over.Go(func() { errs <- v.torment(times, &begun, all) })
	}
	begun.Wait()
	close(all)
	over.Wait()
	var failed []error
	for range victims {
		failed = append(failed, <-errs)
	}
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
}

func silent(string) {}

// collectorOf is a collector with its folder, and where it forwards to.
func collectorOf(name string, how part) *victim {
	return &victim{name: name, least: 500 * time.Millisecond, most: 2500 * time.Millisecond, start: func(calm bool) (*process, error) {
		how := how
		how.Calm = calm
		return spawn(name, "collector", how, nil, silent)
	}}
}

// proxyTo is a proxy in front of the collector with this folder.
func proxyTo(dir string, front *os.File) *victim {
	return &victim{name: "proxy", least: 300 * time.Millisecond, most: 2500 * time.Millisecond, start: func(calm bool) (*process, error) {
		return spawn("proxy", "proxy", part{Dir: dir, Calm: calm}, front, silent)
	}}
}

// agentsOf are the agents of nodes, each with its spool in a folder of dir.
func agentsOf(dir, url string, nodes []string, least time.Duration, w *witness) (all []*victim) {
	for _, node := range nodes {
		all = append(all, &victim{name: "agent " + node, least: least, most: 3500 * time.Millisecond, start: func(calm bool) (*process, error) {
			return spawn("agent "+node, "agent", part{Dir: filepath.Join(dir, node), Node: node, URL: url, Calm: calm}, nil, w.hear)
		}})
	}
	return all
}

// startAll starts them to stay.
func startAll(t *testing.T, victims []*victim) (all []*process) {
	t.Helper()
	for _, v := range victims {
		p, err := v.start(true)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// endAll waits for those that end by themselves, or ends them.
func endAll(t *testing.T, all []*process, byThemselves bool) {
	t.Helper()
	for _, p := range all {
		if err := p.end(byThemselves); err != nil {
			t.Fatal(err)
		}
	}
}
