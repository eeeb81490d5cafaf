// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rogpeppe/go-internal/testscript"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/spoor/spoor/agent/act"
	"github.com/spoor/spoor/collector"
	"github.com/spoor/spoor/contract"
	"github.com/spoor/spoor/test/scene"
)

var update = flag.Bool("update", false, "write what the commands print into the scripts")

func TestMain(m *testing.M) {
	act.Main() // a process of a self-test
	testscript.Main(m, map[string]func(){"spoor": main})
}

// Each script is a session of somebody at a terminal, with six commands more than a shell has:
//
//	collector [DIR]        starts a collector, with the contracts in DIR, ships it the little day of package scene, and
//	                       points SPOOR_COLLECTOR at it
//	exits N CMD...         runs a command that must exit with N
//	eventually RE CMD...   runs a command again and again until its standard output matches
//	taken VAR              holds a port, and puts its address into VAR
//	cut FILE NAME          makes a file of the first half of another
//	damage STORE           makes a store count an event too many
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "UTC")
			env.Setenv("SPOOR_COLLECTOR", "http://127.0.0.1:1") // nobody
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"collector":  startCollector,
			"eventually": eventually,
			"exits":      exits,
			"taken":      taken,
			"cut":        cut,
			"damage":     damage,
		},
	})
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%s: %v", strings.Join(args[1:], " "), err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%s exited with %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

func eventually(ts *testscript.TestScript, _ bool, args []string) {
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		_ = ts.Exec(args[1], args[2:]...)
		if want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s never printed %s", strings.Join(args[1:], " "), args[0])
		}
	}
}

func taken(ts *testscript.TestScript, _ bool, args []string) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = listener.Close() })
	ts.Setenv(args[0], listener.Addr().String())
}

func cut(ts *testscript.TestScript, _ bool, args []string) {
	whole := ts.ReadFile(args[0])
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(whole[:len(whole)/2]), 0o600))
}

func damage(ts *testscript.TestScript, _ bool, args []string) {
	c, err := sqlite.OpenConn(ts.MkAbs(args[0]), sqlite.OpenReadWrite)
	ts.Check(err)
	ts.Check(errors.Join(sqlitex.ExecuteTransient(c, "UPDATE meta SET value = value + 1 WHERE key = 'events'", nil), c.Close()))
}

func startCollector(ts *testscript.TestScript, _ bool, args []string) {
	var contracts *contract.Set
	if len(args) > 0 {
		var err error
		contracts, err = contract.Load(os.DirFS(ts.MkAbs(args[0])))
		ts.Check(err)
	}
	url, stop, err := runCollector("127.0.0.1:0", ts.MkAbs("data"), contracts)
	ts.Check(err)
	ts.Defer(func() {
		if err := stop(); err != nil {
			ts.Logf("the collector ended with: %v", err)
		}
	})
	ts.Setenv("SPOOR_COLLECTOR", url)
	start := time.Now().Add(-30 * time.Second)
	ts.Check(scene.Ship(context.Background(), url, scene.Hello(start), scene.LittleDay(start).Batch))
}

// runCollector runs a collector until stop is called.
func runCollector(listen, dir string, contracts *contract.Set) (url string, stop func() error, err error) {
	registry := prometheus.NewRegistry()
	c, err := collector.New(collector.Options{
		Listen: listen, DataDir: dir, Contracts: contracts, Registerer: registry, Gatherer: registry, Version: "v0.0.0-test",
	})
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	return "http://" + c.Addr().String(), func() error { cancel(); return <-ended }, nil
}
