// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// pupil plays events to a Learner and keeps them.
type pupil struct {
	*scene
	learner *Learner
	events  []*spoorv1.Event
}

func newPupil(t *testing.T) *pupil {
	t.Helper()
	p := &pupil{scene: newScene(t), learner: NewLearner(LearnOptions{})}
	p.workload = stranger
	p.does(create(inode("/x", 1, layer))) // the node reports changes of names
	p.workload, p.events = checkout, nil
	return p
}

func (p *pupil) does(facts ...any) {
	for _, fact := range facts {
		ev := p.event(fact)
		p.learner.Observe(ev)
		p.events = append(p.events, ev)
	}
}

// day plays what a usual service does in a day, by one instance.
func (p *pupil) day(instance string) {
	p.instance = instance
	p.does(listens("0.0.0.0", 8443), listens("127.0.0.1", 6060))
	opened := func(f *spoorv1.Flow, n uint32) *spoorv1.Flow { f.Opened = n; return f }
	for hour := range uint64(24) {
		n := p.instance[0] + byte(hour)
		p.does(
			&spoorv1.Dns{Name: "api.stripe.com", Addresses: []string{"203.0.113.7"}},
			opened(call("203.0.113.7", 443), 5),
			opened(callOf(payments, "10.1.0.8", 8443), 12),
			udp(call("10.96.0.10", 53)),
			opened(calledBy(frontend, fmt.Sprintf("10.1.0.%d", n%9), 8443), 100),
			calledBy(&spoorv1.Workload{Namespace: "node1", Kind: "Unit", Name: "kubelet.service"}, "10.1.0.1", 8443),
			opened(call("127.0.0.1", 9901), 3),
		)
		for i := range uint64(5) {
			p.does(opened(call(fmt.Sprintf("10.20.0.%d", i+10), 5432), 2))
		}
		upload := inode(fmt.Sprintf("/tmp/upload-%d", 1000+hour), hour+100, layer)
		p.does(writeSize(upload, 300<<10))
		p.after(3 * time.Minute)
		p.does(unlink(upload), write(inode("/var/cache/tpl/a.html", 7, claim)), write(inode("/var/cache/tpl/b.html", 8, claim)))
		p.after(57 * time.Minute)
	}
}

func (p *pupil) yaml() string {
	p.t.Helper()
	learned := p.learner.Contract(p.workload)
	if learned == nil {
		p.t.Fatal("nothing was learned")
	}
	text, err := learned.YAML()
	if err != nil {
		p.t.Fatal(err)
	}
	back, err := Parse("learned.yaml", text)
	if err != nil {
		p.t.Fatalf("%v\n%s", err, text)
	}
	if diff := cmp.Diff([]*Contract{learned.Contract}, back, sameContract); diff != "" {
		p.t.Fatalf("%s\n%s", diff, text)
	}
	return string(text)
}

// judged plays the events again, to a judge with what was learned of them.
func (p *pupil) judged() []string {
	p.t.Helper()
	set, err := NewSet(p.learner.Contract(p.workload).Contract)
	if err != nil {
		p.t.Fatal(err)
	}
	j := NewJudge(set)
	j.renamers.put("node1", struct{}{})
	var told []string
	keep := func(verdicts []Verdict) {
		for i := range verdicts {
			told = append(told, tale(&verdicts[i]))
		}
	}
	for _, ev := range p.events {
		keep(j.Tick(ev.GetTime().AsTime()))
		keep(j.Observe(ev))
	}
	keep(j.Tick(p.now.Add(time.Minute)))
	slices.Sort(told)
	return told
}

func TestLearnAService(t *testing.T) {
	p := newPupil(t)
	p.day("a")
	p.day("b")
	golden(t, "testdata/learned/service.yaml", p.yaml())
	if told := p.judged(); told != nil {
		t.Errorf("what was learned from is a finding: %v", told)
	}
	if learned := p.learner.Contract(checkout); learned.Missing != nil || learned.Undecided != 0 {
		t.Errorf("%+v", learned)
	}
}

// What looks like an attack or a mistake is not learned, but shown.
func TestLearnIsNotPoisoned(t *testing.T) {
	p := newPupil(t)
	p.day("a")
	p.day("b")
	tried := call("10.99.0.5", 22)
	tried.Opened, tried.Refused = 0, 40
	often := call("203.0.113.66", 443)
	often.Opened = 500
	p.does(tried, often, call("203.0.113.99", 4444), calledBy(stranger, "10.1.0.66", 8443))
	for i := range uint64(3) {
		p.does(write(inode(fmt.Sprintf("/app/sessions/sess_%d", 1000+i), 500+i, layer)))
	}
	p.does(write(inode("/app/cart.db", 600, layer)))
	golden(t, "testdata/learned/poisoned.yaml", p.yaml())
	want := []string{
		"high flow.egress 203.0.113.66:443/tcp", "high flow.egress 203.0.113.99:4444/tcp", "high state.database /app/cart.db",
		"medium flow.caller east/lab/Deployment/stranger -> 8443/tcp", "medium flow.egress 10.99.0.5:22/tcp",
		"medium state.session /app/sessions/sess_*",
	}
	if diff := cmp.Diff(want, p.judged()); diff != "" {
		t.Error(diff)
	}
}

func TestLearnGeneralises(t *testing.T) {
	p := newPupil(t)
	twice := func(facts ...any) { p.does(facts...); p.after(time.Hour); p.does(facts...) }
	for i := range uint32(5) {
		twice(callNamed(fmt.Sprintf("bucket%c.s3.example.com", 'a'+rune(i)), fmt.Sprintf("203.0.113.%d", i+1), 443))
		twice(callNamed(fmt.Sprintf("shop%c.co.uk", 'a'+rune(i)), fmt.Sprintf("203.0.113.%d", i+50), 443))
		twice(callOf(payments, "10.1.0.8", 40000+i))
		twice(listens("0.0.0.0", 41000+i))
		twice(calledBy(nil, fmt.Sprintf("203.0.113.%d", i+100), 8443))
		twice(udp(call(fmt.Sprintf("10.5.0.%d", i), 8125)))
	}
	for i := range uint64(5) {
		f := inode(fmt.Sprintf("/work/%c/part", 'a'+rune(i)), i+10, layer)
		g := inode(fmt.Sprintf("/work/x/%c", 'a'+rune(i)), i+30, layer)
		p.does(write(f), write(g))
		p.after(time.Second)
		p.does(unlink(f), unlink(g))
	}
	golden(t, "testdata/learned/general.yaml", p.yaml())
	if told := p.judged(); told != nil {
		t.Errorf("what was learned from is a finding: %v", told)
	}
}

func TestLearnAUnit(t *testing.T) {
	p := newPupil(t)
	p.workload, p.instance = batch, "1"
	p.does(write(inode("/var/lib/batch/state.db", 7, disk)), write(inode("/var/lib/batch/state.db-wal", 8, disk)), write(inode("/var/log/batch.log", 9, disk)),
		write(inode("/run/batch.pid", 10, tmpfs)), callOf(&spoorv1.Workload{Namespace: "node1", Kind: "Unit", Name: "db.service"}, "127.0.0.1", 5432))
	p.after(time.Hour)
	p.does(callOf(&spoorv1.Workload{Namespace: "node1", Kind: "Unit", Name: "db.service"}, "127.0.0.1", 5432))
	golden(t, "testdata/learned/unit.yaml", p.yaml())
}

// Learning again adds what is new, line by line, and touches nothing else.
func TestExtend(t *testing.T) {
	p := newPupil(t)
	p.day("a")
	p.day("b")
	contracts, err := Parse("checkout.yaml", []byte(checkoutContract))
	if err != nil {
		t.Fatal(err)
	}
	old := contracts[0]
	old.Spec.Callers = nil
	extended := p.learner.Extend(old, checkout)
	text, err := extended.YAML()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/learned/extended.yaml", string(text))
	if diff := cmp.Diff(old.Spec.Calls, extended.Contract.Spec.Calls[:len(old.Spec.Calls)], sameContract); diff != "" {
		t.Error(diff)
	}
	if len(old.Spec.Calls) != 3 || len(old.Spec.Listens) != 1 {
		t.Error("the old contract was changed")
	}
	again := p.learner.Extend(extended.Contract, checkout)
	if diff := cmp.Diff(extended.Contract, again.Contract, sameContract); diff != "" {
		t.Error(diff)
	}
	if p.learner.Extend(old, payments) != nil {
		t.Error("something was learned of a workload that was never seen")
	}
}

// On a node that reports no removals, only names tell what is scratch.
func TestLearnOnABlindNode(t *testing.T) {
	p := newPupil(t)
	p.learner.renamers.remove("node1")
	for i := range uint64(5) {
		p.does(write(inode(fmt.Sprintf("/tmp/%d", 1000+i), i+10, layer)))
	}
	text := p.yaml()
	if want := "- {path: /tmp/*, maxAge: 10m}  # 5 files, not seen to go: the age is a guess"; !strings.Contains(text, want) {
		t.Errorf("no %q in:\n%s", want, text)
	}
}

func TestLearnSaysWhatIsMissing(t *testing.T) {
	p := newPupil(t)
	p.does(listens("0.0.0.0", 1), &spoorv1.Loss{Count: 3})
	p.after(time.Hour)
	p.does(listens("0.0.0.0", 2))
	got := p.learner.Contract(checkout).Missing
	want := []string{
		"it was seen for 1h, less than 1d", "1 instance of it was seen, so what it does at start and stop may be missing",
		"it did something new 0s before the end, less than 1h", "the agents on its nodes lost 3 facts",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if p.learner.Contract(payments) != nil {
		t.Error("something was learned of a workload that was never seen")
	}
	if got := fmt.Sprint(p.learner.Workloads()); !strings.Contains(got, "checkout") {
		t.Error(got)
	}
}

func TestLearnIsBounded(t *testing.T) {
	l := NewLearner(LearnOptions{Workloads: 3, Facts: 50})
	s := newScene(t)
	for i := range 1000 {
		s.workload = &spoorv1.Workload{Namespace: "shop", Kind: "Deployment", Name: fmt.Sprint(i % 5)}
		for _, fact := range []any{call(fmt.Sprintf("10.0.%d.%d", i/200, i%200), 80), listens("0.0.0.0", uint32(i)+1), write(inode(fmt.Sprintf("/%c%c/f", 'a'+rune(i%26), 'a'+rune(i/26%26)), uint64(i), layer))} {
			l.Observe(s.event(fact))
		}
	}
	if n := len(l.Workloads()); n != 3 || l.ignored == 0 {
		t.Errorf("%d workloads, %d events ignored", n, l.ignored)
	}
	for _, w := range l.Workloads() {
		learned := l.Contract(w)
		if _, err := learned.YAML(); err != nil {
			t.Error(err)
		}
		if !strings.Contains(strings.Join(learned.Missing, "\n"), "it did more different things than are kept") {
			t.Errorf("%q", learned.Missing)
		}
	}
}

// FuzzLearn learns from anything; what comes of it is always a contract, the same for any order of the same facts.
func FuzzLearn(f *testing.F) {
	f.Add(uint64(1), 200)
	f.Fuzz(func(t *testing.T, seed uint64, n int) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := newPupil(t)
		p.workload = []*spoorv1.Workload{checkout, batch, {Namespace: "shop", Kind: "StatefulSet", Name: "db"}}[seed%3]
		names := []string{"/tmp/a", "/tmp/1234", "/app/x", "/app/y/z", "/app/y/[", "/run/x.pid", "/\xff", "/", "/tmp/a*b", "/var/log/a.log", "/app/x.db-wal", "/a/b/c/d/1000/e"}
		peers := []*spoorv1.Workload{nil, payments, stranger, batch, {Kind: "x y", Name: "/"}}
		for range max(n, 0) % 400 {
			p.instance = fmt.Sprint(r.IntN(3))
			p.after(time.Duration(r.IntN(1000)) * time.Second)
			file := inode(names[r.IntN(len(names))], uint64(r.IntN(20)), spoorv1.StorageClass(r.IntN(8)))
			addr := fmt.Sprintf("%s.%d", []string{"10.0.0", "203.0.113", "127.0.0"}[r.IntN(3)], r.IntN(20))
			port := []uint32{53, 443, 40000 + uint32(r.IntN(9)), 0, 70000}[r.IntN(5)]
			out := call(addr, port)
			out.Peer.Workload, out.Opened = peers[r.IntN(len(peers))], uint32(r.IntN(3))
			out.Peer.DnsName = []string{"", "", "a.example.com", fmt.Sprintf("%c.b.example.com", 'a'+rune(r.IntN(9))), "bad name\n", "*"}[r.IntN(6)]
			in := calledBy(peers[r.IntN(len(peers))], addr, port)
			p.does([]any{write(file), writeSize(file, r.Uint64()), unlink(file), rename(file, names[r.IntN(len(names))]), out, udp(out), in, listens(addr, port)}[r.IntN(8)])
		}
		if p.learner.Contract(p.workload) == nil {
			return
		}
		first := p.yaml()
		if again := p.yaml(); again != first {
			t.Fatalf("not the same twice:\n%s\n%s", first, again)
		}
		learned := p.learner.Contract(p.workload)
		if diff := cmp.Diff(learned.Contract, p.learner.Extend(learned.Contract, p.workload).Contract, sameContract); diff != "" {
			t.Fatalf("what was learned is learned again:\n%s\n%s", diff, first)
		}
	})
}
