// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// generator runs the load in a process of its own, so that its facts are told from everybody else's.
func generator(l *load) (product, error) {
	var p product
	dir, err := os.MkdirTemp(options.Dir, "spoor-loss-")
	if err != nil {
		return p, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a leftover does no harm
	cmd := exec.Command("/proc/self/exe", "--generate", l.name, "--rate", strconv.Itoa(l.rate), "--dir", dir,
		"--seconds", strconv.Itoa(options.Seconds))
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return p, fmt.Errorf("generate %s: %w: %s", l.name, err, problem.String())
	}
	if err := json.Unmarshal(out.Bytes(), &p); err != nil {
		return p, fmt.Errorf("generate %s: %w", l.name, err)
	}
	return p, nil
}

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

// overwrite writes 100 bytes over and over into 64 files in turns. Its facts are the files.
func overwrite(dir string, rate int, length time.Duration) (product, error) {
	files := make([]*os.File, 64)
	for i := range files {
		f, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			return product{}, err
		}
		files[i] = f // open until the process ends, which is soon
	}
	b := make([]byte, 100)
	n, err := pace(rate, length, func(i int) error {
		_, err := files[i%len(files)].WriteAt(b, 0)
		return err
	})
	return product{Operations: n, Facts: len(files)}, err
}

// create makes files with 100 bytes in them.
func create(dir string, rate int, length time.Duration) (product, error) {
	b := make([]byte, 100)
	n, err := pace(rate, length, func(i int) error {
		return os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), b, 0o600)
	})
	return product{Operations: n, Facts: n}, err
}

// dial opens and closes connections to a listener of its own. Each has two ends, both in this process.
func dial(_ string, rate int, length time.Duration) (product, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return product{}, err
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
	return product{Operations: n, Facts: 2 * n}, err
}

// execute runs a small program.
func execute(_ string, rate int, length time.Duration) (product, error) {
	program, err := exec.LookPath("true")
	if err != nil {
		return product{}, err
	}
	n, err := pace(rate, length, func(int) error {
		p, err := os.StartProcess(program, []string{"true"}, &os.ProcAttr{})
		if err != nil {
			return err
		}
		_, err = p.Wait()
		return err
	})
	return product{Operations: n, Facts: n}, err
}

// countFiles counts each inode once, of the files that the generator made.
func countFiles() func(*spoorv1.Event) int {
	type inode struct{ number, generation uint64 }
	seen := map[inode]bool{}
	return func(ev *spoorv1.Event) int {
		f := ev.GetFileWrite().GetFile()
		k := inode{f.GetInode(), uint64(f.GetGeneration())}
		if f == nil || seen[k] {
			return 0
		}
		seen[k] = true
		return 1
	}
}

func countOpened(ev *spoorv1.Event) int { return int(ev.GetFlow().GetOpened()) }

func countExecs(ev *spoorv1.Event) int {
	if ev.GetProcessStart().GetCause() == spoorv1.ProcessStart_CAUSE_EXEC && ev.GetProcess().GetComm() == "true" {
		return 1
	}
	return 0
}
