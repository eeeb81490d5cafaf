// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// Exit codes, as those of the command line: 1 when the two answers differ, 3 when something failed.
const (
	exitDifferent = 1
	exitFailed    = 3
)

type settings struct {
	events       uint64
	store, spoor string
	// Make the store, and no more.
	only bool
	out  io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	s := &settings{out: os.Stdout}
	flag.Uint64Var(&s.events, "events", 10_000_000, "how many events the store has")
	flag.StringVar(&s.store, "store", "build/history", "folder of the store; made when it is not there")
	flag.BoolVar(&s.only, "only-store", false, "make the store and measure nothing")
	flag.StringVar(&s.spoor, "spoor", "bin/spoor", "the program that is measured")
	flag.Parse()
	same, err := s.run(ctx)
	stop()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "backtest:", err)
		os.Exit(exitFailed)
	case !same:
		os.Exit(exitDifferent)
	}
}

func (s *settings) run(ctx context.Context) (same bool, err error) {
	if err := makeHistory(ctx, s.store, s.events); err != nil || s.only {
		return true, err
	}
	dir, err := os.MkdirTemp("", "spoor-backtest-")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := writeContracts(dir); err != nil {
		return false, err
	}
	url, end, err := s.collector(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, end()) }()
	argv := []string{
		s.spoor, "contract", "backtest", filepath.Join(dir, "proposed.yaml"), "--contracts", filepath.Join(dir, "current.yaml"),
		"--collector", url, "--since", begin.Format(time.RFC3339),
	}
	whole, took, err := backtest(ctx, argv)
	if err != nil {
		return false, err
	}
	fmt.Fprintf(s.out, "%s%d events in %s, two versions of %d contracts: %.0f a second\n", whole, s.events, took.Round(time.Second/10), services, float64(s.events)/took.Seconds())

	file := filepath.Join(dir, "resume.json")
	argv = append(argv, "--resume", file)
	killed, err := s.half(ctx, argv, file)
	if err != nil {
		return false, err
	}
	resumed, rest, err := backtest(ctx, argv)
	if err != nil {
		return false, err
	}
	fmt.Fprintf(s.out, "killed after %d events and resumed: %s more; the same answer: %v\n", killed, rest.Round(time.Second/10), bytes.Equal(whole, resumed))
	if !bytes.Equal(whole, resumed) {
		fmt.Fprintf(s.out, "%s", resumed)
	}
	return bytes.Equal(whole, resumed), nil
}

// half runs the command until the file that it leaves says that half of the events were judged, and kills it.
func (s *settings) half(ctx context.Context, argv []string, file string) (events uint64, err error) {
	ctx, kill := context.WithCancel(ctx)
	defer kill()
	over := make(chan error, 1)
	go func() {
		_, _, err := backtest(ctx, argv)
		over <- err
	}()
	for {
		select {
		case err := <-over:
			return 0, fmt.Errorf("it ended before it was killed: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
		if n := judged(file); n >= s.events/2 {
			kill()
			_ = <-over // it was killed
			return n, nil
		}
	}
}

// judged is how many events the file of a back-test says were judged, 0 while there is none.
func judged(file string) uint64 {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	var left struct{ Events uint64 }
	if json.NewDecoder(bytes.NewReader(data)).Decode(&left) != nil {
		return 0
	}
	return left.Events
}

// backtest runs the command to its end, or kills it when ctx is over.
func backtest(ctx context.Context, argv []string) (out []byte, took time.Duration, err error) {
	var problem bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stderr = &problem
	begun := time.Now()
	out, err = cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 1 {
		err = nil // it found differences
	}
	if err != nil {
		err = fmt.Errorf("spoor contract backtest: %w: %s", err, problem.Bytes())
	}
	return out, time.Since(begun), err
}

// collector starts one on the store, which forgets nothing meanwhile.
func (s *settings) collector(ctx context.Context) (url string, end func() error, err error) {
	free, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		return "", nil, err
	}
	var out bytes.Buffer
	cmd := exec.Command(s.spoor, "collector", "--without-tls", "--data", s.store, "--keep", "0", "--listen", address)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("%w: make build builds it", err)
	}
	end = func() error { return errors.Join(cmd.Process.Signal(os.Interrupt), cmd.Wait()) }
	url = "http://" + address
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if healthy(ctx, url) {
			return url, end, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return "", nil, errors.Join(errors.New("the collector does not answer"), end(), errors.New(out.String()))
		}
	}
}

func healthy(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/healthz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}
