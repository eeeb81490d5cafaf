// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
	"github.com/spoor/spoor/contract"
	"github.com/spoor/spoor/test/scene"
)

const (
	// blindNode is what the host is called by an agent that is made to lose, and to be silent.
	blindNode = "verdicts-blind"
	// smallQueue is what that agent may keep.
	smallQueue = "50"
	// silence is how long it may take until somebody notices: how long an agent may be away, and what it takes to see that.
	silence = contract.SilentAfter + 90*time.Second
)

// blindRows are the answers about an agent instead of a program, each with what its findings are.
var blindRows = map[string]func(told) bool{
	"loses":        func(t told) bool { return t.rule == contract.RuleBlindLoss && t.severity != "info" },
	"falls-silent": func(t told) bool { return t.rule == contract.RuleBlindAgent },
}

// daemon is a part of Spoor in a process of its own.
type daemon struct {
	*exec.Cmd
	out  scene.Transcript
	done chan error
}

func startDaemon(program string, args ...string) (*daemon, error) {
	d := &daemon{Cmd: exec.Command(program, args...), done: make(chan error, 1)}
	d.Stdout, d.Stderr = &d.out, &d.out
	if err := d.Start(); err != nil {
		return nil, fmt.Errorf("%w: make build builds it", err)
	}
	go func() { d.done <- d.Wait() }()
	return d, nil
}

// end interrupts it and waits.
func (d *daemon) end() error {
	if err := d.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-d.done:
		return err
	case <-time.After(3 * time.Minute):
		return errors.Join(fmt.Errorf("%s does not end", d.Args[1]), d.Process.Kill())
	}
}

// blind lets an agent lose events, then stops it until somebody notices, and lets it go on until that is over.
func (w *world) blind(ctx context.Context, o *options, answers map[string]answer) (_ []verdict, err error) {
	dir := filepath.Join(root, "blind")
	contracts := filepath.Join(dir, "contracts")
	if err := os.MkdirAll(contracts, 0o755); err != nil {
		return nil, err
	}
	s := &stage{program: &program{name: "loses", argv: []string{"/usr/bin/python3", "@dir@/job.py", "flood", "@dir@"}, silent: true, contract: stateless}, dir: dir}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "job.py"), []byte(jobScript), 0o644), os.WriteFile(filepath.Join(contracts, "loses.yaml"), []byte(s.document()), 0o644)); err != nil {
		return nil, err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	collector, err := startDaemon(o.spoor, "collector", "--without-tls", "--listen", address, "--data", filepath.Join(dir, "data"), "--contracts", contracts)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, collector.end()) }()
	agent, err := startDaemon(o.spoor, "agent", "--collector", "http://"+address, "--node", blindNode, "--queue", smallQueue, "--pin", "off")
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, agent.Process.Signal(syscall.SIGCONT), agent.end())
	}()
	l, err := begin(s.unit(), []string{"/usr/bin/python3", filepath.Join(dir, "job.py"), "flood", dir}, s.env(), dir, io.Discard)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.end(ctx)) }()
	up := &watched{client: spoorv1connect.NewQueryServiceClient(http.DefaultClient, "http://"+address)}
	trouble := map[string]error{
		"loses": up.says(ctx, contract.RuleBlindLoss, true, time.Minute),
	}
	if err := agent.Process.Signal(syscall.SIGSTOP); err != nil {
		return nil, err
	}
	noticed := up.says(ctx, contract.RuleBlindAgent, true, silence)
	trouble["falls-silent"] = errors.Join(noticed, agent.Process.Signal(syscall.SIGCONT), up.says(ctx, contract.RuleBlindAgent, false, time.Minute))
	findings, err := up.findings(ctx)
	if err != nil {
		return nil, err
	}
	var all []verdict
	for name, about := range blindRows {
		v := judge(name, answers[name], slices.DeleteFunc(slices.Concat(slices.Collect(maps.Values(findings))...), func(t told) bool { return !about(t) }))
		if v.trouble = trouble[name]; v.trouble != nil {
			o.say("%s: the agent says:\n%s\n", name, agent.out.String())
		}
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b verdict) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

// says waits until a rule has an open finding about the blind node or its unit, or none any more.
func (w *watched) says(ctx context.Context, rule string, open bool, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		found, err := w.list(ctx, spoorv1.FindingState_FINDING_STATE_OPEN)
		if err == nil && slices.ContainsFunc(slices.Concat(slices.Collect(maps.Values(found))...), func(t told) bool { return t.rule == rule }) == open {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not open: %v, after %s: %w", rule, !open, patience, errors.Join(err, ctx.Err()))
		case <-time.After(time.Second / 2):
		}
	}
}

func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
