// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spoor/spoor/agent/sensor"
	"github.com/spoor/spoor/agent/workload"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// story writes down what the table tells, one line each.
type story struct {
	lines []string
	names map[string]string // exec id -> name in the test
}

func (s *story) name(id string) string {
	if id == "" {
		return "-"
	}
	if n, ok := s.names[id]; ok {
		return n
	}
	return "unknown"
}

func (s *story) Start(p *Process, cause spoorv1.ProcessStart_Cause, _ uint64) {
	verb := map[spoorv1.ProcessStart_Cause]string{
		spoorv1.ProcessStart_CAUSE_FORK: "forked", spoorv1.ProcessStart_CAUSE_EXEC: "executed", spoorv1.ProcessStart_CAUSE_FOUND: "found",
	}[cause]
	s.lines = append(s.lines, fmt.Sprintf("%s %s by %s", s.name(p.Proto.GetExecId()), verb, s.name(p.Proto.GetParentExecId())))
}

func (s *story) Exit(p *Process, status uint32, _ uint64) {
	s.lines = append(s.lines, fmt.Sprintf("%s ended with %d", s.name(p.Proto.GetExecId()), status))
}

type nowhere struct{}

func (nowhere) Of(uint64, uint32, bool) *workload.Instance { return nil }
func (nowhere) Learn(uint64, string, time.Time)            {}

type epoch struct{}

func (epoch) Time(ns uint64) time.Time { return time.Unix(0, int64(ns)) }

// Tgids that no process of this machine has: /proc tells nothing of them.
const unused = 1 << 30

func who(tgid, execs uint32) sensor.Who {
	return sensor.Who{StartBoottime: uint64(tgid), Tgid: unused + tgid, ExecCount: execs}
}

func newTable(t *testing.T, size int) (*Table, *story) {
	t.Helper()
	s := &story{names: map[string]string{}}
	tab, err := NewTable(Options{BootID: "boot", Instances: nowhere{}, Clock: epoch{}, Sink: s, Size: size})
	if err != nil {
		t.Fatal(err)
	}
	for tgid := range uint32(20) {
		for execs := range uint32(5) {
			s.names[tab.ExecID(who(tgid, execs))] = fmt.Sprintf("%d.%d", tgid, execs)
		}
	}
	return tab, s
}

func at(cause sensor.ProcessCause, when time.Duration, w, parent sensor.Who) *sensor.ProcessEvent {
	return &sensor.ProcessEvent{Cause: cause, Time: uint64(when), Who: w, Parent: parent}
}

func TestTable(t *testing.T) {
	shell := who(1, 1)
	found := at(sensor.Found, 0, shell, sensor.Who{})
	for _, tc := range []struct {
		name string
		do   func(*Table)
		want []string
	}{
		{"a fork that execs is one image", func(t *Table) {
			t.Apply(at(sensor.Fork, 1, who(2, 1), shell))
			t.Apply(at(sensor.Exec, 2, who(2, 2), shell))
			t.Apply(at(sensor.Exit, 3, who(2, 2), shell))
		}, []string{"2.2 executed by 1.1", "2.2 ended with 0"}},
		{"an image that execs another is its parent", func(t *Table) {
			t.Apply(at(sensor.Fork, 1, who(2, 1), shell))
			t.Apply(at(sensor.Exec, 2, who(2, 2), shell))
			t.Apply(at(sensor.Exec, 3, who(2, 3), shell))
		}, []string{"2.2 executed by 1.1", "2.3 executed by 2.2"}},
		{"a fork that acts is told first", func(t *Table) {
			t.Apply(at(sensor.Fork, 1, who(2, 1), shell))
			t.Get(who(2, 1), 0)
			t.Apply(at(sensor.Exec, 2, who(2, 2), shell))
		}, []string{"2.1 forked by 1.1", "2.2 executed by 2.1"}},
		{"forks between an image and its child are told from the root", func(t *Table) {
			t.Apply(at(sensor.Fork, 1, who(2, 1), shell))
			t.Apply(at(sensor.Fork, 2, who(3, 1), who(2, 1)))
			t.Apply(at(sensor.Fork, 3, who(4, 1), who(3, 1)))
			t.Apply(at(sensor.Exec, 4, who(4, 2), who(3, 1)))
		}, []string{"2.1 forked by 1.1", "3.1 forked by 2.1", "4.2 executed by 3.1"}},
		{"a fork that ends without an exec is told", func(t *Table) {
			t.Apply(at(sensor.Fork, 1, who(2, 1), shell))
			t.Apply(&sensor.ProcessEvent{Cause: sensor.Exit, Time: 2, Who: who(2, 1), Parent: shell, Status: 256})
		}, []string{"2.1 forked by 1.1", "2.1 ended with 256"}},
		{"a fork that stays is told after the grace", func(t *Table) {
			t.Apply(at(sensor.Fork, 0, who(2, 1), shell))
			t.Apply(at(sensor.Fork, time.Second, who(3, 1), shell))
			t.Tick(uint64(forkGrace))
		}, []string{"2.1 forked by 1.1"}},
		{"an exec whose fork was lost", func(t *Table) {
			t.Apply(at(sensor.Exec, 2, who(2, 2), shell))
		}, []string{"2.2 executed by 1.1"}},
		{"a stranger", func(t *Table) {
			t.Get(who(9, 1), 0)
		}, []string{"9.1 found by -"}},
		{"an exit that is told twice", func(t *Table) {
			t.Apply(at(sensor.Exec, 1, who(2, 2), shell))
			t.Apply(at(sensor.Exit, 2, who(2, 2), shell))
			t.Apply(at(sensor.Exit, 2, who(2, 2), shell))
		}, []string{"2.2 executed by 1.1", "2.2 ended with 0"}},
		{"the iterator meets whom the tracepoint told of", func(t *Table) {
			t.Apply(at(sensor.Exec, 1, who(2, 2), shell))
			t.Apply(at(sensor.Found, 1, who(2, 2), shell))
		}, []string{"2.2 executed by 1.1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tab, s := newTable(t, 0)
			tab.Apply(found)
			tc.do(tab)
			if d := cmp.Diff(append([]string{"1.1 found by -"}, tc.want...), s.lines); d != "" {
				t.Errorf("told (-want +got):\n%s", d)
			}
		})
	}
}

func TestAForkRunsWhatItsParentRuns(t *testing.T) {
	tab, _ := newTable(t, 0)
	ev := at(sensor.Exec, 1, who(2, 2), sensor.Who{})
	ev.Exe, ev.Cwd, ev.Args = "/bin/\xffsh", "/tmp", []string{"sh", "-c", "\xfe"}
	tab.Apply(ev)
	tab.Apply(at(sensor.Fork, 2, who(3, 2), who(2, 2)))
	p := tab.Get(who(3, 2), 0).Proto
	if p.GetExe() != "/bin/\uFFFDsh" || p.GetCwd() != "/tmp" || !slices.Equal(p.GetArgs(), []string{"sh", "-c", "\uFFFD"}) {
		t.Errorf("the fork is %v", p)
	}
	if string(p.GetArgsRaw()) != "sh\x00-c\x00\xfe" {
		t.Errorf("args_raw = %q, want the exact bytes", p.GetArgsRaw())
	}
}

func TestTextsOfAFoundProcess(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // killed
	})
	// Start returns when the child has its new memory, which is before its arguments are in it.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if len(line) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("sleep never got its arguments")
		}
	}
	tab, _ := newTable(t, 0)
	w := sensor.Who{Tgid: uint32(cmd.Process.Pid), StartBoottime: 1}
	tab.Apply(&sensor.ProcessEvent{Cause: sensor.Found, Who: w})
	p := tab.Get(w, 0).Proto
	if !slices.Equal(p.GetArgs(), []string{"sleep", "60"}) || !p.GetPreexisting() {
		t.Errorf("found %v, want sleep 60", p)
	}
	if dir, err := os.Getwd(); err != nil || p.GetCwd() != dir {
		t.Errorf("cwd %q, want %q (%v)", p.GetCwd(), dir, err)
	}
}

func TestTableIsBounded(t *testing.T) {
	tab, _ := newTable(t, 8)
	for i := range uint32(20) {
		tab.Apply(at(sensor.Exec, 1, who(i, 1), sensor.Who{}))
	}
	if tab.Len() != 8 || tab.Evicted() != 12 {
		t.Errorf("%d remembered and %d evicted, want 8 and 12", tab.Len(), tab.Evicted())
	}
}

func TestWhatEndedIsForgotten(t *testing.T) {
	tab, _ := newTable(t, 8)
	living, left := who(1, 1), who(2, 1)
	tab.Apply(at(sensor.Exec, 1, living, sensor.Who{}))
	tab.Apply(at(sensor.Exec, 1, left, sensor.Who{}))
	tab.Apply(at(sensor.Exec, time.Second, who(2, 2), sensor.Who{}))
	tab.Apply(at(sensor.Exit, 2*time.Second, who(2, 2), sensor.Who{}))
	tab.Tick(uint64(time.Second + endedGrace - 1))
	if tab.Len() != 3 {
		t.Errorf("%d remembered before the grace is over, want 3", tab.Len())
	}
	tab.Tick(uint64(time.Second + endedGrace))
	if tab.Knows(left) || !tab.Knows(who(2, 2)) {
		t.Error("it is not the older image of the two that was forgotten")
	}
	tab.Tick(uint64(2*time.Second + endedGrace))
	if !tab.Knows(living) || tab.Len() != 1 || tab.Evicted() != 0 {
		t.Errorf("%d remembered and %d evicted, want the living one and 0", tab.Len(), tab.Evicted())
	}
	served := who(3, 1)
	tab.Apply(at(sensor.Exec, 1, served, sensor.Who{}))
	tab.Get(served, 0).HasSockets()
	tab.Apply(at(sensor.Exit, 1, served, sensor.Who{}))
	tab.Tick(1 + uint64(endedGrace))
	if !tab.Knows(served) {
		t.Error("one whose sockets others may have was forgotten")
	}
	// Nobody is held for longer than there is room for him.
	for i := range uint32(20) {
		tab.Apply(at(sensor.Exec, 1, who(i, 3), sensor.Who{}))
		tab.Apply(at(sensor.Exit, 1, who(i, 3), sensor.Who{}))
	}
	tab.Tick(1)
	if len(tab.past) != 8 || tab.Hurried() == 0 {
		t.Errorf("%d of the past, want 8; %d hurried", len(tab.past), tab.Hurried())
	}
}

func TestThoseWhoLeftSocketsAreForgottenForWantOfRoomOnly(t *testing.T) {
	tab, _ := newTable(t, 8)
	for i := range uint32(20) {
		tab.Apply(at(sensor.Exec, 1, who(i, 1), sensor.Who{}))
		tab.Get(who(i, 1), 0).HasSockets()
		tab.Apply(at(sensor.Exit, 1, who(i, 1), sensor.Who{}))
		tab.Tick(1 + uint64(endedGrace))
	}
	if tab.Knows(who(11, 1)) || !tab.Knows(who(12, 1)) || len(tab.left) != 8 {
		t.Errorf("%d are remembered: want the latest 8", len(tab.left))
	}
}

func TestExecIDIsTheSameForTheSameImageOnly(t *testing.T) {
	tab, s := newTable(t, 0)
	other, _ := newTable(t, 0)
	if tab.ExecID(who(1, 1)) != other.ExecID(who(1, 1)) {
		t.Error("two agents gave one image two ids")
	}
	if len(s.names) != 100 {
		t.Errorf("100 images have %d ids", len(s.names))
	}
	if id := tab.ExecID(who(1, 1)); len(id) != 16 {
		t.Errorf("id %q has %d characters, want 16", id, len(id))
	}
}

// instances gives each cgroup an instance.
type instances map[uint64]*workload.Instance

func (i instances) Of(cgroup uint64, _ uint32, _ bool) *workload.Instance { return i[cgroup] }
func (instances) Learn(uint64, string, time.Time)                         {}

func TestNobodyFillsTheMemoryWithTexts(t *testing.T) {
	const quiet, loud, most = 1, 2, 64 << 10
	of := instances{quiet: workload.NewInstance(&spoorv1.Instance{Id: "quiet"}), loud: workload.NewInstance(&spoorv1.Instance{Id: "loud"})}
	tab, err := NewTable(Options{BootID: "boot", Instances: of, Clock: epoch{}, Sink: &story{}, Size: 1000})
	if err != nil {
		t.Fatal(err)
	}
	tab.maxTexts = most
	run := func(cgroup uint64, tgid uint32, args ...string) *Process {
		ev := at(sensor.Exec, time.Second, who(tgid, 1), who(0, 0))
		ev.CgroupID, ev.Exe, ev.Cwd, ev.Args = cgroup, "/"+strings.Repeat("d/", 1000)+"app", "/", args
		tab.Apply(ev)
		p, ok := tab.all.Peek(ev.Who)
		if !ok {
			t.Fatal("it is not known")
		}
		return p
	}
	fork := func(cgroup uint64, child, parent uint32) *Process {
		ev := at(sensor.Fork, time.Second, who(child, 0), who(parent, 1))
		ev.CgroupID = cgroup
		tab.Apply(ev)
		p, _ := tab.all.Peek(ev.Who)
		return p
	}
	held := func() (n int) {
		counted := map[*texts]bool{}
		for _, p := range tab.all.Values() {
			if p.texts != nil && !counted[p.texts] {
				counted[p.texts] = true
				n += sizeOf(p.Proto.GetExe(), p.Proto.GetCwd(), p.Proto.GetArgs())
			}
		}
		return n
	}
	// Empty arguments take no bytes on the command line, and some in memory.
	first := run(loud, 100, make([]string, 100)...)
	for n := range uint32(100) {
		fork(loud, 500+n, 100)
		run(loud, 101+n, "app", strings.Repeat("\xff", 4000))
	}
	if got := held(); got > most {
		t.Errorf("%d bytes of texts are remembered, want %d at most", got, most)
	}
	if first.Proto.GetArgsTruncated() || len(first.Proto.GetArgs()) != 100 {
		t.Error("what came when there was room was cut")
	}
	last := run(loud, 300, "app", strings.Repeat("x", 4000))
	if got := last.Proto; !got.GetArgsTruncated() || !slices.Equal(got.GetArgs(), []string{"app"}) || !strings.HasSuffix(got.GetExe(), "d/app") || len(got.GetExe()) > 2*shortPath {
		t.Errorf("where there is no room it has %v and an executable of %d bytes", got.GetArgs(), len(got.GetExe()))
	}
	if other := run(quiet, 400, "app", strings.Repeat("x", 4000)); other.Proto.GetArgsTruncated() || len(other.Proto.GetExe()) < 2000 {
		t.Error("somebody else's texts were cut")
	}
	if tab.Shortened() == 0 {
		t.Error("nobody is told that texts were cut")
	}
	tab.all.Purge()
	if tab.texts != 0 || len(tab.textsOf) != 0 {
		t.Errorf("when nobody is remembered, %d bytes of %d instances are", tab.texts, len(tab.textsOf))
	}
	if again := run(loud, 301, "app", strings.Repeat("x", 4000)); again.Proto.GetArgsTruncated() {
		t.Error("texts are cut though there is room")
	}
}
