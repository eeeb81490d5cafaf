// SPDX-License-Identifier: Apache-2.0

package trail

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spoor/spoor/agent/act"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// TestWritesAndProcesses does what a process can do to a file, and how it can begin and end, and looks for exactly the right
// process in the collector's answers.
func TestWritesAndProcesses(t *testing.T) {
	u := startUp(t)
	dir := t.TempDir()
	for _, name := range []string{
		"append", "overwrite", "mmap-store", "io-uring-write", "sendfile", "splice", "truncate", "exec-args", "exec-script",
	} {
		t.Run(name, func(t *testing.T) {
			a := act.Find(name)
			if a == nil {
				t.Fatalf("there is no act %s", name)
			}
			r, err := a.Do(t.Context(), act.Env{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			from := r.Start.Add(-time.Second)
			u.until("the collector tells "+name, func() string {
				return r.Judge(u.events(t.Context(), since(from)), act.FileWrite, act.ProcessStart, act.ProcessExit).String()
			})
		})
	}
}

// TestBothEndsOfAConnection looks from each end of a TCP connection at the other.
func TestBothEndsOfAConnection(t *testing.T) {
	u := startUp(t)
	r, err := act.Find("tcp4").Do(t.Context(), act.Env{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	from := r.Start.Add(-time.Second)
	u.until("both ends are told and name each other", func() string {
		events := u.events(t.Context(), since(from))
		if report := r.Judge(events, act.Connection, act.Listening); !report.OK() {
			return report.String()
		}
		ends := map[spoorv1.Direction]*spoorv1.Event{}
		for _, ev := range events {
			for i := range r.Facts {
				if f := r.Facts[i].Flow; f != nil && int(ev.GetProcess().GetTgid()) == r.Facts[i].Tgid && ev.GetFlow().GetDirection() == f.Direction {
					ends[f.Direction] = ev
				}
			}
		}
		caller, called := ends[spoorv1.Direction_DIRECTION_OUTBOUND], ends[spoorv1.Direction_DIRECTION_INBOUND]
		if got, want := caller.GetFlow().GetPeer().GetExecId(), called.GetProcess().GetExecId(); got != want || want == "" {
			return fmt.Sprintf("the caller's peer is %q, the server is %q", got, want)
		}
		if got, want := called.GetFlow().GetPeer().GetExecId(), caller.GetProcess().GetExecId(); got != want {
			return fmt.Sprintf("the server's peer is %q, the caller is %q", got, want)
		}
		return ""
	})
	if edges := u.spoor(0, "edges", "-o", "json"); !strings.Contains(edges, `"seen_by_caller":true`) || !strings.Contains(edges, `"seen_by_called":true`) {
		t.Errorf("no edge was seen by both ends:\n%s", edges)
	}
}

// TestChain asks for the tree of a process and looks for everybody between it and this test.
func TestChain(t *testing.T) {
	u := startUp(t)
	mark := fmt.Sprintf("spoor-trail-%d", os.Getpid())
	sleep := fmt.Sprintf("sleep 0.01%d", os.Getpid()) // like nobody else's
	// Commands after the sleep keep the shells from giving their process to it.
	if err := exec.CommandContext(t.Context(), "sh", "-c", "sh -c '"+sleep+"; true' "+mark+"; true").Run(); err != nil {
		t.Fatal(err)
	}
	var id string
	u.until("the sleep is told", func() string {
		for _, ev := range u.events(t.Context(), &spoorv1.EventFilter{Kinds: []string{"process_start"}}) {
			if strings.Join(ev.GetProcess().GetArgs(), " ") == sleep {
				id = ev.GetProcess().GetExecId()
				return ""
			}
		}
		return "no process_start of it"
	})
	u.until("the chain is whole and ended", func() string {
		tree, err := u.ask.GetTree(t.Context(), connect.NewRequest(&spoorv1.GetTreeRequest{ExecId: id}))
		if err != nil {
			return err.Error()
		}
		var chain []string
		ended := false
		for _, n := range tree.Msg.GetNodes() {
			if n.GetDepth() <= 0 {
				chain = append(chain, filepath.Base(strings.Join(n.GetProcess().GetArgs(), " ")))
			}
			ended = ended || (n.GetDepth() == 0 && n.GetExit() != nil)
		}
		want := []string{"sh -c sh -c '" + sleep + "; true' " + mark + "; true", "sh -c " + sleep + "; true " + mark, sleep}
		if len(chain) < len(want)+1 || strings.Join(chain[len(chain)-3:], "\n") != strings.Join(want, "\n") || !ended {
			return fmt.Sprintf("chain %q, ended %v", chain, ended)
		}
		return ""
	})
	if out := u.spoor(0, "tree", id); !strings.Contains(out, sleep) {
		t.Errorf("spoor tree does not show it:\n%s", out)
	}
}

// TestExampleContract does what the comments of the example contract tell a new user to do.
func TestExampleContract(t *testing.T) {
	contracts, err := filepath.Abs("../../deploy/examples")
	if err != nil {
		t.Fatal(err)
	}
	u := startUp(t, "--contracts", contracts)
	name := "/var/tmp/spoor-demo-trail"
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(name) })
	if err := exec.CommandContext(t.Context(), "sh", "-c", "echo hello > "+name).Run(); err != nil {
		t.Fatal(err)
	}
	var dialer net.Dialer
	if c, err := dialer.DialContext(t.Context(), "tcp", "127.0.0.1:8765"); err == nil {
		_ = c.Close() // nobody listens there as a rule; the call is what counts
	}
	for _, want := range []struct{ rule, subject string }{{"flow.egress", "8765"}, {"state.local", "/var/tmp/spoor-demo"}} {
		u.until(want.rule+" is found", func() string {
			list, err := u.ask.ListFindings(t.Context(), connect.NewRequest(&spoorv1.ListFindingsRequest{Rule: want.rule}))
			if err != nil {
				return err.Error()
			}
			for _, f := range list.Msg.GetFindings() {
				if !strings.Contains(f.GetSubject(), want.subject) {
					continue
				}
				one, err := u.ask.GetFinding(t.Context(), connect.NewRequest(&spoorv1.GetFindingRequest{Id: f.GetId()}))
				if err != nil {
					return err.Error()
				}
				if len(one.Msg.GetEvidence()) == 0 || f.GetFix() == "" || f.GetWhy() == "" || f.GetOwner().GetTeam() == "" {
					return fmt.Sprintf("it lacks evidence, a reason, a fix or an owner: %v", one.Msg)
				}
				return ""
			}
			return fmt.Sprintf("%d findings, none about %s", len(list.Msg.GetFindings()), want.subject)
		})
	}
	if out := u.spoor(1, "findings"); !strings.Contains(out, "state.local") || !strings.Contains(out, "flow.egress") {
		t.Errorf("spoor findings does not show both:\n%s", out)
	}
}

// TestKill kills everything at once, a few times, and looks for what was there before.
func TestKill(t *testing.T) {
	u := startUp(t)
	dir := t.TempDir()
	type key struct {
		epoch    string
		sequence uint64
	}
	kept := map[key]bool{}
	for round := range 3 {
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { // load until the kill
			for i := 0; ctx.Err() == nil; i++ {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(round, "-", i)), []byte("x"), 0o600); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		before := len(kept)
		u.until("events of the load are durable", func() string {
			for _, ev := range u.events(t.Context(), nil) {
				kept[key{ev.GetEpoch(), ev.GetSequence()}] = true
			}
			if len(kept) < before+500 {
				return fmt.Sprintf("%d of 500", len(kept)-before)
			}
			return ""
		})
		u.kill()
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		u.start()
		seen := map[key]int{}
		for _, ev := range u.events(t.Context(), nil) {
			seen[key{ev.GetEpoch(), ev.GetSequence()}]++
		}
		for k := range kept {
			if seen[k] == 0 {
				t.Errorf("round %d: event %d of epoch %s is gone", round, k.sequence, k.epoch)
			}
		}
		for k, n := range seen {
			if n > 1 {
				t.Errorf("round %d: event %d of epoch %s is there %d times", round, k.sequence, k.epoch, n)
			}
		}
	}
}

func since(from time.Time) *spoorv1.EventFilter {
	return &spoorv1.EventFilter{From: timestamppb.New(from)}
}
