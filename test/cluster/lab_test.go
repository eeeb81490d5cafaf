// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
)

const (
	// `make build` leaves them here.
	spoor      = "../../bin/spoor"
	spoorAgent = "../../bin/spoor-agent"
	// As test/cluster/cluster calls them.
	nodes     = 2
	collector = "https://10.99.0.1:7070"
	// The name that the agents are given.
	clusterName = "lab"
	namespace   = "shop"
	patience    = 3 * time.Minute
)

// lab is a running cluster.
type lab struct {
	*testing.T
	run   string
	temp  string
	token string // of the test, for the collector
}

// newLab starts a cluster that has the shop's image, and removes it when the test ends.
func newLab(t *testing.T) *lab {
	t.Helper()
	l := startCluster(t, nodes)
	l.load()
	return l
}

// startCluster starts one with so many nodes, and removes it when the test ends.
func startCluster(t *testing.T, nodes int) *lab {
	t.Helper()
	home := os.Getenv("SPOOR_LAB")
	if home == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		home = filepath.Join(cache, "spoor")
	}
	l := &lab{T: t, run: filepath.Join(home, "cluster", "run"), temp: t.TempDir()}
	l.lock(filepath.Join(home, "cluster", ".running"))
	t.Cleanup(func() {
		if t.Failed() {
			l.keepLogs()
		}
		l.command("./cluster", "down")
	})
	l.command("./cluster", "up", fmt.Sprint(nodes))
	return l
}

// lock waits until no other test of this machine has a cluster: names of namespaces are the same for all.
func (l *lab) lock(path string) {
	l.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { _ = f.Close() }) // which lets go of it
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		l.Fatal(err)
	}
}

// command runs a program to its end and returns what it said.
func (l *lab) command(name string, args ...string) string {
	l.Helper()
	cmd := exec.Command(name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		l.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out.Bytes(), errs.Bytes())
	}
	return out.String()
}

func (l *lab) kubectl(args ...string) string {
	l.Helper()
	return l.command("./cluster", append([]string{"kubectl"}, args...)...)
}

// get reads objects of the shop's namespace.
func (l *lab) get(kind string, into any) {
	l.Helper()
	if err := json.Unmarshal([]byte(l.kubectl("get", kind, "-n", namespace, "-o", "json")), into); err != nil {
		l.Fatal(err)
	}
}

// load builds the shop and gives its image to every node.
func (l *lab) load() {
	l.Helper()
	root, image := filepath.Join(l.temp, "root"), filepath.Join(l.temp, "shop.tar")
	for _, dir := range []string{root, filepath.Join(root, "tmp")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			l.Fatal(err)
		}
	}
	l.command("env", "CGO_ENABLED=0", "go", "build", "-o", filepath.Join(root, "shop"), "../shop")
	// What holds a pod's namespaces is a container of the same image without arguments.
	l.command("./image", "localhost/shop:test", image, root, `["/shop"]`)
	l.command("./image", "localhost/pause:test", filepath.Join(l.temp, "pause.tar"), root, `["/shop","pause"]`)
	l.command("./cluster", "load", image)
	l.command("./cluster", "load", filepath.Join(l.temp, "pause.tar"))
}

// apply gives a manifest of the shop to the API server, with its @NAMES@ replaced.
func (l *lab) apply(name string, replace ...string) string {
	l.Helper()
	manifest, err := os.ReadFile(filepath.Join("../shop", name))
	if err != nil {
		l.Fatal(err)
	}
	path := filepath.Join(l.temp, name)
	if err := os.WriteFile(path, []byte(strings.NewReplacer(replace...).Replace(string(manifest))), 0o600); err != nil {
		l.Fatal(err)
	}
	return path
}

// daemon is a program that runs in a network namespace.
type daemon struct {
	*lab
	name string
	cmd  *exec.Cmd
	out  *os.File
	done chan error
}

// start runs a program in a network namespace until it is stopped, at the latest at the end of the test.
func (l *lab) start(name, where string, args ...string) *daemon {
	l.Helper()
	out, err := os.Create(filepath.Join(l.run, "log", name))
	if err != nil {
		l.Fatal(err)
	}
	d := &daemon{lab: l, name: name, out: out, done: make(chan error, 1)}
	d.cmd = exec.Command("nsenter", append([]string{"--net=/run/netns/spoor-" + where}, args...)...)
	d.cmd.Stdout, d.cmd.Stderr = out, out
	if err := d.cmd.Start(); err != nil {
		l.Fatal(err)
	}
	go func() { d.done <- d.cmd.Wait() }()
	l.Cleanup(func() {
		if d.cmd.ProcessState == nil {
			_ = d.cmd.Process.Kill()
			_ = <-d.done
		}
		_ = out.Close()
	})
	return d
}

// stop asks it to end and waits until it has.
func (d *daemon) stop() {
	d.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		d.Fatal(err)
	}
	select {
	case err := <-d.done:
		if err != nil {
			d.Errorf("%s ended with %v; it said:\n%s", d.name, err, d.said())
		}
	case <-time.After(patience):
		d.Fatalf("%s does not end; it said:\n%s", d.name, d.said())
	}
}

// kill ends it at once.
func (d *daemon) kill() {
	d.Helper()
	if err := d.cmd.Process.Kill(); err != nil {
		d.Fatal(err)
	}
	_ = <-d.done // that it was killed
}

func (d *daemon) said() string {
	b, err := os.ReadFile(d.out.Name())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// until polls a condition.
func (l *lab) until(what string, ok func() bool) {
	l.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.Fatalf("never came: %s", what)
		}
	}
}

// dial connects from within a network namespace: a socket belongs to the one that it was made in.
func dial(ctx context.Context, where, network, address string) (net.Conn, error) {
	type result struct {
		c   net.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		ns, err := os.Open("/run/netns/spoor-" + where)
		if err != nil {
			done <- result{nil, err}
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{nil, err}
			return
		}
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		done <- result{c, err}
	}()
	r := <-done
	return r.c, r.err
}

// ask returns a client of the collector.
func (l *lab) ask() spoorv1connect.QueryServiceClient {
	transport := &http.Transport{TLSClientConfig: l.authority(), DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return dial(ctx, "control", network, address)
	}}
	l.Cleanup(transport.CloseIdleConnections)
	return spoorv1connect.NewQueryServiceClient(&http.Client{Transport: withToken{l.token, transport}}, collector)
}

// keepLogs copies the logs of all parts of the cluster to where they outlive it.
func (l *lab) keepLogs() {
	kept := filepath.Join("..", "..", "build", "cluster-logs")
	if err := os.RemoveAll(kept); err != nil {
		l.Log(err)
	}
	if err := os.CopyFS(kept, os.DirFS(filepath.Join(l.run, "log"))); err != nil {
		l.Log(err)
	}
	l.Logf("the logs are in %s", kept)
}
