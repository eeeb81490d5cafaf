// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// program is one row of the table: how to run it, and what a small client does with it.
type program struct {
	name string
	// Files that are there before its first life: name in its folder and content.
	files map[string]string
	// What is done before its first life, by the runner.
	setup func(ctx context.Context, s *stage) error
	argv  []string
	env   []string
	load  load
	// It does not listen, and it may end by itself.
	silent bool
	// It runs all the time, beside others, instead of living twice.
	lasting bool
	// Lines of its contract below spec; none at all: nobody wrote one.
	contract string
	// It only helps others and has no answer.
	helper bool
}

// stage is where a program runs. In its files and arguments @dir@, @port@, @up@ and @port:name@ are filled in: its folder, its port, the
// server behind it, and the port of another program.
type stage struct {
	*program
	dir      string
	port     int
	ports    map[string]int
	upstream string
	store    string
	log      *os.File
}

func (s *stage) unit() string { return "verdict-" + s.name + ".service" }

func (s *stage) fill(text string) string {
	pairs := []string{"@store@", s.store, "@dir@", s.dir, "@port@", strconv.Itoa(s.port), "@up@", strings.TrimSuffix(strings.TrimPrefix(s.upstream, "http://"), "/")}
	for name, port := range s.ports {
		pairs = append(pairs, "@port:"+name+"@", strconv.Itoa(port))
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func (s *stage) env() []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" + os.Getenv("PATH"), "HOME=" + s.dir, "LANG=C.UTF-8"}
	for _, e := range s.program.env {
		env = append(env, s.fill(e))
	}
	return env
}

// document is the program's contract, or "".
func (s *stage) document() string {
	if s.contract == "" {
		return ""
	}
	return fmt.Sprintf(`apiVersion: spoor.dev/v1
kind: Contract
metadata: {name: %s}
spec:
  workload: {kind: Unit, name: %s}
  state: stateless
  scratch: [{path: /tmp/**, maxAge: 20s}, {path: /dev/shm}]
%s
`, s.name, s.unit(), s.fill(s.contract))
}

// prepare makes the program's folder.
func (s *stage) prepare(ctx context.Context) error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	for name, text := range s.files {
		path := filepath.Join(s.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(s.fill(text)), 0o644); err != nil {
			return err
		}
	}
	var err error
	if s.log, err = os.Create(s.dir + ".out"); err != nil {
		return err
	}
	if s.setup == nil {
		return nil
	}
	return s.setup(ctx, s)
}

func (s *stage) begin(ctx context.Context) (*life, error) {
	argv := make([]string, len(s.argv))
	for i, a := range s.argv {
		argv[i] = s.fill(a)
	}
	// By a pipe, as to a service manager: a file would be the program's own.
	l, err := begin(s.unit(), argv, s.env(), s.dir, struct{ io.Writer }{s.log})
	if err != nil || s.silent {
		return l, err
	}
	if err := until(ctx, "it listens", func() bool { return listening(s.port) }); err != nil {
		return nil, errors.Join(err, l.end(ctx))
	}
	return l, nil
}

// restartAfter is how long a service manager waits.
const restartAfter = 2 * time.Second

// live is the program's whole life, or both.
func (s *stage) live(ctx context.Context, lives int) error {
	for n := range lives {
		if n > 0 {
			if err := rest(ctx, restartAfter); err != nil {
				return err
			}
		}
		l, err := s.begin(ctx)
		if err != nil {
			return err
		}
		err = work(ctx, s, s.load)
		if err = errors.Join(err, l.end(ctx)); err != nil {
			return err
		}
	}
	return nil
}
