// SPDX-License-Identifier: Apache-2.0

// Package load makes what agents are measured by: files written and made, connections, programs that run, so many a second; in a process of its own, so that its
// facts are told from everybody else's.
package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// Product is what was made: a fact may sum up many operations, and an operation may be two facts.
type Product struct {
	Operations, Facts int
	Seconds           float64
}

// Kind is a kind of load.
type Kind string

// The kinds.
const (
	Overwrites  Kind = "overwrites" // of a few files, as fast as the rate says
	Rewrites    Kind = "rewrites"   // of many files, each of which is written twice a second
	Creations   Kind = "creations"
	Connections Kind = "connections"
	Execs       Kind = "execs"
)

// argument is the first of a program that is to make a load.
const argument = "--make-load"

// Asked makes the load that the arguments ask for, if they do, and reports whether they did: then main has nothing else to do.
func Asked() (bool, error) {
	if len(os.Args) != 6 || os.Args[1] != argument {
		return false, nil
	}
	p, err := fromArguments(os.Args[2:])
	if err != nil {
		return true, err
	}
	return true, json.NewEncoder(os.Stdout).Encode(p)
}

func fromArguments(args []string) (p Product, err error) {
	rate, bad := strconv.Atoi(args[2])
	length, badToo := time.ParseDuration(args[3])
	if err := errors.Join(bad, badToo); err != nil {
		return p, err
	}
	began := time.Now()
	switch dir := args[1]; Kind(args[0]) {
	case Overwrites:
		p, err = overwrite(dir, overwritten, rate, length)
	case Rewrites:
		p, err = overwrite(dir, rate/2, rate, length)
	case Creations:
		p, err = create(dir, rate, length)
	case Connections:
		p, err = dial(rate, length)
	case Execs:
		p, err = execute(rate, length)
	default:
		err = fmt.Errorf("no load: %s", args[0])
	}
	p.Seconds = time.Since(began).Seconds()
	return p, err
}

// Make makes a load for a while in a process of its own, below a directory.
func Make(kind Kind, parent string, rate int, length time.Duration) (p Product, err error) {
	dir, err := os.MkdirTemp(parent, "spoor-load-")
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cmd := exec.Command("/proc/self/exe", argument, string(kind), dir, strconv.Itoa(rate), length.String())
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return p, fmt.Errorf("make %s: %w: %s", kind, err, problem.String())
	}
	if err := json.Unmarshal(out.Bytes(), &p); err != nil {
		return p, fmt.Errorf("make %s: %w", kind, err)
	}
	return p, nil
}

// overwritten is how many files Overwrites has.
const overwritten = 64

// pace calls do as often as rate says, in bursts of a hundredth of a second, until the length is over.
func pace(rate int, length time.Duration, do func(i int) error) (int, error) {
	const bursts = 100
	began := time.Now()
	n := 0
	for burst := 1; time.Since(began) < length; burst++ {
		for target := rate * burst / bursts; n < target; n++ {
			if err := do(n); err != nil {
				return n, err
			}
		}
		time.Sleep(time.Until(began.Add(time.Duration(burst) * time.Second / bursts)))
	}
	return n, nil
}

// overwrite writes 100 bytes over and over into some files in turns. Its facts are the files.
func overwrite(dir string, n, rate int, length time.Duration) (Product, error) {
	files := make([]*os.File, n)
	for i := range files {
		f, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			return Product{}, err
		}
		files[i] = f // open until the process ends, which is soon
	}
	b := make([]byte, 100)
	done, err := pace(rate, length, func(i int) error {
		_, err := files[i%len(files)].WriteAt(b, 0)
		return err
	})
	return Product{Operations: done, Facts: len(files)}, err
}

// create makes files with 100 bytes in them.
func create(dir string, rate int, length time.Duration) (Product, error) {
	b := make([]byte, 100)
	n, err := pace(rate, length, func(i int) error {
		return os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), b, 0o600)
	})
	return Product{Operations: n, Facts: n}, err
}

// dial opens and closes connections to a listener of its own. Each has two ends, both in this process.
func dial(rate int, length time.Duration) (Product, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return Product{}, err
	}
	accepted := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				accepted <- nil
				return
			}
			if err := c.Close(); err != nil {
				accepted <- err
				return
			}
		}
	}()
	n, err := pace(rate, length, func(int) error {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return err
		}
		// With a reset no socket waits out its time, and the ports last.
		if err := c.(*net.TCPConn).SetLinger(0); err != nil {
			return err
		}
		// The other end closes first.
		_, _ = c.Read(make([]byte, 1))
		return c.Close()
	})
	if closing := l.Close(); err == nil {
		err = closing
	}
	if closed := <-accepted; err == nil {
		err = closed
	}
	return Product{Operations: n, Facts: 2 * n}, err
}

// execute runs a small program.
func execute(rate int, length time.Duration) (Product, error) {
	program, err := exec.LookPath("true")
	if err != nil {
		return Product{}, err
	}
	n, err := pace(rate, length, func(int) error {
		p, err := os.StartProcess(program, []string{"true"}, &os.ProcAttr{})
		if err != nil {
			return err
		}
		_, err = p.Wait()
		return err
	})
	return Product{Operations: n, Facts: n}, err
}
