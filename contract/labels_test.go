// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// carries are the labels of a workload, key=value, of which there are no others.
func carries(labels ...string) Labels { return LabelsOf(labelledInstance(labels...)) }

func labelledInstance(labels ...string) *spoorv1.Instance {
	in := &spoorv1.Instance{Labels: map[string]string{}, LabelsKnown: true}
	for _, l := range labels {
		key, value, _ := strings.Cut(l, "=")
		in.Labels[key] = value
	}
	return in
}

func TestSelectionByLabels(t *testing.T) {
	set := mustSet(t,
		doc("everything", `{kind: "*", name: "*"}`),
		doc("fronts", `{matchLabels: {tier: front}}`),
		doc("shop-fronts", `{namespace: shop, matchLabels: {tier: front}}`),
		doc("fronts-of-web", `{matchLabels: {tier: front, app: web}}`),
		doc("sets", `{kind: StatefulSet, matchLabels: {app: db}}`),
		doc("backs", `{kind: Deployment, name: "back*", matchLabels: {tier: back}}`),
		doc("any-back", `{kind: Deployment, matchLabels: {tier: back}}`),
		doc("checkout", `{kind: Deployment, name: checkout}`),
		doc("checkout-canary", `{kind: Deployment, name: checkout, matchLabels: {track: canary}}`),
		doc("a-team", `{matchLabels: {team: a, zone: one}}`),
		doc("b-zone", `{matchLabels: {zone: one, area: b}}`),
	)
	deployment := func(namespace, name string) *spoorv1.Workload {
		return &spoorv1.Workload{Namespace: namespace, Kind: "Deployment", Name: name}
	}
	cut := carries("tier=front")
	cut.all = false
	for _, tc := range []struct {
		what     string
		workload *spoorv1.Workload
		labels   Labels
		want     string
	}{
		{"one label", deployment("lab", "x"), carries("tier=front", "other=1"), "fronts"},
		{"labels before the namespace of a pattern", deployment("shop", "x"), carries("tier=front"), "shop-fronts"},
		{"more labels before fewer", deployment("shop", "x"), carries("tier=front", "app=web"), "fronts-of-web"},
		{"another value", deployment("shop", "x"), carries("tier=Front"), "everything"},
		{"none of its labels", deployment("shop", "x"), carries(), "everything"},
		{"another kind", deployment("shop", "x"), carries("app=db"), "everything"},
		{"its kind", &spoorv1.Workload{Kind: "StatefulSet", Name: "pg"}, carries("app=db"), "sets"},
		{"part of a name", deployment("shop", "backup"), carries("tier=back"), "backs"},
		{"not of that name", deployment("shop", "up"), carries("tier=back"), "any-back"},
		{"a name before labels", deployment("shop", "checkout"), carries("tier=front", "app=web"), "checkout"},
		{"a name and labels before a name", deployment("shop", "checkout"), carries("track=canary"), "checkout-canary"},
		{"as many labels: the alphabet", deployment("shop", "x"), carries("team=a", "zone=one", "area=b"), "a-team"},
		{"a host has none", &spoorv1.Workload{Namespace: "n", Kind: "Unit", Name: "sshd.service"}, Labels{}, "everything"},
		{"not known", deployment("shop", "x"), Labels{}, "?"},
		{"not known, by its name", deployment("shop", "checkout"), Labels{}, "?"}, // it may be the canary
		{"not all known, and enough", deployment("lab", "x"), LabelsOf(&spoorv1.Instance{Labels: map[string]string{"app": "mine", "tier": "front", "track": "no", "team": "b", "area": "c"}}), "fronts"},
		{"not all known", deployment("lab", "x"), cut, "?"}, // it may be of web
	} {
		c, sure := set.For(tc.workload, tc.labels)
		got := "?"
		if sure {
			got = c.FullName()
		} else if c != nil {
			t.Errorf("%s: %s applies, and is not sure", tc.what, c.FullName())
		}
		if got != tc.want {
			t.Errorf("%s: %s applies, want %s", tc.what, got, tc.want)
		}
	}
	if _, err := NewSet(append(set.Contracts(), mustSet(t, doc("again", `{matchLabels: {app: web, tier: front}, name: "*"}`)).Contracts()...)...); err == nil ||
		!strings.Contains(err.Error(), "a second contract for * * with app=web,tier=front; the first is test.yaml:") {
		t.Errorf("a second contract by the same labels: %v", err)
	}
}

// A selector answers as that of k8s.io/apimachinery does where all labels are known, and where some are not it is sure only of what no other
// label could change.
func TestExpressionsAsInKubernetes(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 111))
	pick := func(words ...string) string { return words[r.IntN(len(words))] }
	key, value := func() string { return pick("app", "tier", "example.com/zone") }, func() string { return pick("", "a", "b", "C") }
	answers := map[answered]int{}
	for range 20_000 {
		var w Selector
		k := &metav1.LabelSelector{MatchLabels: map[string]string{}}
		if r.IntN(3) == 0 {
			w.MatchLabels = Selection{key(): value()}
			k.MatchLabels = w.MatchLabels
		}
		for range r.IntN(3) {
			e := Expression{Key: key(), Operator: Operator(pick(operators...))}
			for e.Operator.hasValues() && (len(e.Values) == 0 || r.IntN(2) == 0) {
				e.Values = append(e.Values, value())
			}
			w.MatchExpressions = append(w.MatchExpressions, e)
			k.MatchExpressions = append(k.MatchExpressions, metav1.LabelSelectorRequirement{Key: e.Key, Operator: metav1.LabelSelectorOperator(e.Operator), Values: e.Values})
		}
		theirs, err := metav1.LabelSelectorAsSelector(k)
		if err != nil {
			t.Fatal(err)
		}
		has := map[string]string{}
		for range r.IntN(4) {
			has[key()] = value()
		}
		p := compile(&Contract{Spec: Spec{Workload: w}})
		want := never
		if theirs.Matches(labels.Set(has)) {
			want = always
		}
		if got := p.selects(checkout, Labels{has, true}); got != want {
			t.Fatalf("%s of %v: %d, want %d", w.Labels(), has, got, want)
		}
		if again, err := labels.Parse(w.Labels()); err != nil || again.Matches(labels.Set(has)) != (want == always) {
			t.Fatalf("%+v is written as %q: %v", w, w.Labels(), err)
		}
		// Of labels that are not all known, some: what is sure is right.
		known := maps.Clone(has)
		maps.DeleteFunc(known, func(string, string) bool { return r.IntN(2) == 0 })
		got := p.selects(checkout, Labels{known, false})
		if got != perhaps && got != want {
			t.Fatalf("%s of %v, of which only %v is known: %d, want %d", w.Labels(), has, known, got, want)
		}
		if w.ByLabels() {
			if p.selects(&spoorv1.Workload{Kind: "Unit"}, Labels{}) != never {
				t.Fatalf("%s is about a unit", w.Labels())
			}
			answers[got]++
		}
	}
	if len(answers) != 3 || min(answers[never], answers[perhaps], answers[always]) < 300 {
		t.Errorf("answers: %v", answers)
	}
}

// Expressions count as labels do, and what means the same is the same.
func TestPrecedenceOfExpressions(t *testing.T) {
	set := mustSet(t,
		doc("fronts", `{matchLabels: {tier: front}}`),
		doc("live-fronts", `{matchLabels: {tier: front}, matchExpressions: [{key: canary, operator: DoesNotExist}]}`),
		doc("two-tiers", `{kind: Deployment, matchExpressions: [{key: tier, operator: In, values: [front, back]}]}`),
		doc("named", `{kind: Deployment, name: checkout}`),
	)
	for _, tc := range []struct {
		name   string
		labels Labels
		want   string
	}{
		{"x", carries("tier=front"), "live-fronts"},
		{"x", carries("tier=front", "canary=1"), "two-tiers"}, // as many, and it says the kind
		{"x", carries("tier=back"), "two-tiers"},
		{"x", carries("tier=side"), ""},
		{"checkout", carries("tier=front"), "named"},
	} {
		c, sure := set.For(&spoorv1.Workload{Kind: "Deployment", Name: tc.name}, tc.labels)
		got := ""
		if c != nil {
			got = c.Metadata.Name
		}
		if got != tc.want || !sure {
			t.Errorf("%s with %v: %q, sure: %v, want %q", tc.name, tc.labels.values, got, sure, tc.want)
		}
	}
	for _, same := range [][2]string{
		{`{matchLabels: {a: b}}`, `{matchExpressions: [{key: a, operator: In, values: [b]}]}`},
		{`{matchExpressions: [{key: a, operator: Exists}, {key: b, operator: NotIn, values: [x, y]}]}`, `{matchExpressions: [{key: b, operator: NotIn, values: [y, x, y]}, {key: a, operator: Exists}, {key: a, operator: Exists}]}`},
	} {
		if _, err := Parse("f.yaml", []byte(doc("one", same[0])+"---\n"+doc("two", same[1]))); err == nil || !strings.Contains(err.Error(), "a second contract for * * with ") {
			t.Errorf("%s is another than %s: %v", same[0], same[1], err)
		}
	}
}

const frontsContract = `
apiVersion: spoor.dev/v1
kind: Contract
metadata: {name: fronts, namespace: shop}
spec:
  workload: {matchLabels: {tier: front}}
  listens: [{port: 80}]
`

// label gives the next events of a scene an instance with labels, that began at a time.
func (s *scene) label(ev *spoorv1.Event, began time.Time, labels ...string) *spoorv1.Event {
	in := labelledInstance(labels...)
	ev.Instance.Labels, ev.Instance.LabelsKnown = in.GetLabels(), true
	ev.Instance.StartTime = timestamppb.New(began)
	return ev
}

func TestJudgeByLabels(t *testing.T) {
	s := newScene(t, frontsContract)
	observe := func(ev *spoorv1.Event, want ...string) {
		t.Helper()
		s.expect("event", s.judge.Observe(ev), want)
	}
	s.sees(listens("0.0.0.0", 99)) // whose labels nobody told: not judged, and counted
	if n := s.judge.Stats().Unjudged.Labels; n != 1 {
		t.Errorf("%d events are counted", n)
	}
	observe(s.label(s.event(listens("0.0.0.0", 81)), dawn, "tier=front"), "medium flow.listener *:81/tcp")
	if got := s.last[0].Contract; got != "shop/fronts" {
		t.Errorf("by the contract %s", got)
	}
	// What an older instance says, and one that says nothing, changes nothing.
	s.instance = "i0"
	observe(s.label(s.event(listens("0.0.0.0", 82)), dawn.Add(-time.Hour), "tier=back"), "medium flow.listener *:82/tcp")
	s.instance = "i9"
	s.sees(listens("0.0.0.0", 83), "medium flow.listener *:83/tcp")
	// A rollout takes the label away: the contract is about it no longer.
	s.after(time.Minute)
	s.instance = "i2"
	ev := s.label(s.event(listens("0.0.0.0", 84)), s.now, "tier=back")
	got := s.judge.Observe(ev)
	if len(got) != 3 || !got[0].Cleared || !got[1].Cleared || !got[2].Cleared {
		t.Errorf("%v", got)
	}
	s.instance = "i1"
	observe(s.label(s.event(listens("0.0.0.0", 85)), dawn, "tier=front"))
	if n := s.judge.Stats().Unjudged.Labels; n != 1 {
		t.Errorf("%d events are counted", n)
	}
	// Contracts that are reloaded find workloads by the labels that were told before.
	again := mustSet(t, strings.ReplaceAll(frontsContract, "tier: front", "tier: back"))
	s.expect("reload", s.judge.Reload(again), nil)
	s.instance = "i2"
	observe(s.label(s.event(listens("0.0.0.0", 86)), dawn.Add(time.Minute), "tier=back"), "medium flow.listener *:86/tcp")
	s.expect("reload", s.judge.Reload(mustSet(t, checkoutContract)), nil)
}

// A back-test counts what it could not judge, and goes on after a stop with the labels that it knew.
func TestBacktestByLabels(t *testing.T) {
	s := newScene(t)
	set := mustSet(t, frontsContract)
	var evs []*spoorv1.Event
	for port := range uint32(4) {
		s.after(time.Second)
		ev := s.event(listens("0.0.0.0", 90+port))
		if port == 1 {
			s.label(ev, dawn, "tier=front")
		}
		evs = append(evs, ev)
	}
	whole := NewBacktest(nil, set)
	whole.Observe(evs...)
	part := NewBacktest(nil, set)
	part.Observe(evs[:2]...)
	state, err := part.State()
	if err != nil {
		t.Fatal(err)
	}
	resumed := NewBacktest(nil, set)
	if err := resumed.Resume(state); err != nil {
		t.Fatal(err)
	}
	resumed.Observe(evs[2:]...)
	for _, b := range []*Backtest{whole, resumed} {
		if r := b.Result(); len(r.OnlyProposed) != 3 || r.Unlabelled != 1 {
			t.Errorf("%d findings, %d events without labels", len(r.OnlyProposed), r.Unlabelled)
		}
	}
}

func TestLearnerKnowsLabels(t *testing.T) {
	s, l := newScene(t), NewLearner(LearnOptions{})
	l.Observe(s.label(s.event(listens("0.0.0.0", 80)), dawn, "tier=front"))
	c, sure := mustSet(t, frontsContract).For(checkout, l.Labels(checkout))
	if c == nil || !sure {
		t.Errorf("%v, sure: %v", c, sure)
	}
	if _, sure := mustSet(t, frontsContract).For(stranger, l.Labels(stranger)); !sure { // of another namespace
		t.Error("not sure of a stranger")
	}
	if _, sure := mustSet(t, frontsContract).For(payments, l.Labels(payments)); sure {
		t.Error("sure of what was never seen")
	}
}
