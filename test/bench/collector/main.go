// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/alecthomas/kong"
)

var options struct {
	Parts   []string `arg:"" optional:"" enum:"throughput,connected,queries" default:"throughput,connected,queries" help:"What is measured: throughput, connected, queries."`
	Program string   `help:"The collector." default:"bin/spoor" type:"existingfile"`
	Dir     string   `help:"Where stores are made, and removed in the end." default:"/var/tmp" type:"existingdir"`

	Nodes      int `help:"Agents of throughput." default:"10"`
	Throughput int `help:"Events of throughput." default:"1000000"`
	Batch      int `help:"Events in a batch of throughput." default:"500"`
	Labels     int `help:"Labels of each instance of throughput; its agents tell of none where it is negative." default:"8"`
	Agents     int `help:"Agents of connected." default:"5000"`
	Rate       int `help:"Events a second of each of them." default:"4"`
	Services   int `help:"Services on the node of each of them, with two processes." default:"6"`
	Warm       int `help:"How many seconds they tell before it counts." default:"30"`
	Seconds    int `help:"How long it counts." default:"300"`
	Events     int `help:"Events in the store that is asked." default:"10000000"`
	Times      int `help:"How often each question is asked." default:"100"`
	// Filling it takes longer than asking.
	Store string `help:"Folder that keeps the store that is asked; a store that is there is not filled again." placeholder:"DIR"`
}

func main() {
	kong.Parse(&options, kong.Description("Measure a collector with made-up agents."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := measure(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-collector:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context) error {
	for _, part := range options.Parts {
		if err := one(ctx, part); err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	return nil
}

func one(ctx context.Context, part string) (err error) {
	dir, err := os.MkdirTemp(options.Dir, "spoor-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	switch part {
	case "throughput":
		return throughput(ctx, options.Program, dir)
	case "connected":
		return connected(ctx, options.Program, dir)
	default:
		if options.Store == "" {
			return queries(ctx, options.Program, dir)
		}
		if _, err := os.Stat(filepath.Join(options.Store, dayFile)); err == nil {
			return ask(ctx, options.Program, options.Store)
		}
		if err := os.MkdirAll(options.Store, 0o700); err != nil {
			return err
		}
		return queries(ctx, options.Program, options.Store)
	}
}
