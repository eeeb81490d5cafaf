// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"maps"
	"slices"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

const (
	// lossQuiet is how long nothing more must be lost for a finding about losses to be over.
	lossQuiet = 10 * time.Minute
	// SilentAfter is how long an agent must be away before that is a finding: an upgrade takes seconds.
	SilentAfter = 2 * time.Minute
)

// nodeView is what a node's agent can see, and whether anything there is judged by it.
type nodeView struct {
	cluster string
	// A workload with a contract was seen there.
	judged bool
	// By sensor: the last word on it, and the best tier that it ever had.
	coverage map[string]*spoorv1.Event
	best     map[string]string
	silent   bool
	since    time.Time
	// The agent was heard of since this judge began.
	attended bool
}

// maxSensors bounds the sensors of one node.
const maxSensors = 32

func (j *Judge) node(name string) *nodeView {
	n, ok := j.nodes.get(name)
	if !ok {
		n = &nodeView{coverage: map[string]*spoorv1.Event{}, best: map[string]string{}}
		j.nodes.put(name, n)
	}
	return n
}

// host is the workload that findings about a node's view are about.
func (j *Judge) host(node string, n *nodeView) *workload {
	return j.workload(&spoorv1.Workload{Cluster: n.cluster, Namespace: node, Kind: "Host", Name: node})
}

// guard notes that a node has a workload with a contract: from now on its blind spots make answers wrong.
func (j *Judge) guard(in *instance, t time.Time) {
	n := j.node(in.key.node)
	if n.judged {
		return
	}
	n.judged, n.cluster = true, in.workload.id.GetCluster()
	for _, sensor := range slices.Sorted(maps.Keys(n.coverage)) {
		j.covers(n.coverage[sensor], n, t)
	}
	if n.silent {
		j.silence(in.key.node, n)
	}
}

// blind takes what an agent says that it cannot see, or has lost: blind.sensor and blind.loss.
func (j *Judge) blind(ev *spoorv1.Event, t time.Time) {
	switch fact := ev.GetFact().(type) {
	case *spoorv1.Event_Coverage:
		c := fact.Coverage
		if c.GetSensor() == "" || tierRank(c.GetTier()) == 0 {
			return
		}
		n := j.node(ev.GetNode())
		if _, known := n.coverage[c.GetSensor()]; !known && len(n.coverage) >= maxSensors {
			return
		}
		n.coverage[c.GetSensor()] = ev
		if n.judged {
			j.covers(ev, n, t)
		}
		if tierRank(c.GetTier()) > tierRank(n.best[c.GetSensor()]) {
			n.best[c.GetSensor()] = c.GetTier()
		}
	case *spoorv1.Event_Loss:
		j.lost(ev, fact.Loss, t)
	}
}

func tierRank(tier string) int {
	switch tier {
	case "full":
		return 3
	case "base":
		return 2
	case "off":
		return 1
	default:
		return 0
	}
}

// covers says that a sensor is off or sees less than it did, or no longer.
func (j *Judge) covers(ev *spoorv1.Event, n *nodeView, t time.Time) {
	c := ev.GetCoverage()
	w := j.host(ev.GetNode(), n)
	subject := printable(c.GetSensor())
	if tierRank(c.GetTier()) > 1 && tierRank(c.GetTier()) >= tierRank(n.best[c.GetSensor()]) {
		if m := w.matters[matterKey{RuleBlindSensor, subject}]; m != nil {
			j.quieten(m, t, ev)
		}
		return
	}
	m := j.matter(w, RuleBlindSensor, subject)
	if m.open || !j.raise(m, t, ev) {
		return
	}
	// One that never was there is a choice, or a kernel's; one that went is news.
	v := Verdict{Severity: spoorv1.Severity_SEVERITY_INFO, Time: t, Evidence: []*spoorv1.Event{ev}}
	v.Title = fmt.Sprintf("%s: the %s sensor is %s", printable(orThis(ev.GetNode())), subject, c.GetTier())
	if best := n.best[c.GetSensor()]; tierRank(best) > tierRank(c.GetTier()) {
		v.Severity = spoorv1.Severity_SEVERITY_MEDIUM
		v.Title += ", and was " + best
	}
	v.Why = "Workloads with a contract run there, and what this sensor would see of them is missing: that nothing is found does not mean that nothing happened."
	if c.GetReason() != "" {
		v.Why += " The agent says: " + printable(c.GetReason()) + "."
	}
	v.Fix = "spoor selftest on that node shows what is not seen and what the sensor needs. If it is off on purpose, acknowledge the finding."
	j.tell(m, v)
}

// fleeting are the reasons of losses that say how a sensor works rather than that something was too much for it: a file, or the owner of a
// socket, was gone before it was looked at, or a file that its own writer reads all the time was left alone for a while.
var fleeting = []string{"unmarkable", "name_unreadable", "unknown_owner", "hot"}

// lost says that something of a node with contracts, or of a workload with one, was lost.
func (j *Judge) lost(ev *spoorv1.Event, l *spoorv1.Loss, t time.Time) {
	var w *workload
	if id := ev.GetInstance().GetWorkload(); id != nil && id.GetKind() != "Host" {
		if w = j.workload(id); w.policy == nil {
			return // it is about somebody who has no contract
		}
	} else if n, ok := j.nodes.get(ev.GetNode()); ok && n.judged {
		// The agent does not know whose facts they were, and says Host: anybody's.
		w = j.host(ev.GetNode(), n)
	}
	if w == nil || l.GetCount() == 0 {
		return
	}
	severity := spoorv1.Severity_SEVERITY_LOW
	if slices.Contains(fleeting, l.GetReason()) {
		severity = spoorv1.Severity_SEVERITY_INFO
	}
	m := j.matter(w, RuleBlindLoss, printable(l.GetSource()+": "+l.GetReason()))
	m.endless = false
	if j.raise(m, t, ev) {
		j.tell(m, Verdict{
			Severity: severity, Time: t, Evidence: []*spoorv1.Event{ev},
			Title: fmt.Sprintf("%s: the agent on %s lost %s (%s)", w.describe(), printable(orThis(ev.GetNode())), facts(l.GetCount()), m.key.subject),
			Why:   "What was lost was judged by nobody: that nothing else is found at the time does not mean that nothing happened. Answers about it say so, too.",
			Fix:   "Something did more than the agent's bounds are made for: look at what ran at the time, and raise the bound that the reason names if it is to run again.",
		})
	}
	j.fade(m, t.Add(lossQuiet), ev)
}

// Attend says whether a node's agent was heard of, and since when it has been silent if not: blind.agent. No event tells
// that, so whoever speaks with agents has to say it now and then.
func (j *Judge) Attend(cluster, node string, silent bool, since time.Time) []Verdict {
	n := j.node(node)
	if n.cluster == "" {
		n.cluster = cluster
	}
	n.silent, n.since = silent, since
	switch {
	case !n.judged:
	case silent:
		j.silence(node, n)
	default:
		w := j.host(node, n)
		if m := w.matters[agentMatter]; m != nil {
			j.quieten(m, later(j.now, since), nil)
		} else if !n.attended {
			// An earlier judge may have said that it was silent.
			j.out = append(j.out, Verdict{
				Rule: agentMatter.rule, Subject: agentMatter.subject, Workload: w.id, Time: later(j.now, since), Cleared: true,
			})
		}
		n.attended = true
	}
	return j.take()
}

// agentMatter is the only thing that blind.agent says of a node.
var agentMatter = matterKey{RuleBlindAgent, "its agent"}

func (j *Judge) silence(node string, n *nodeView) {
	w := j.host(node, n)
	t := n.since.Add(SilentAfter)
	m := j.matter(w, agentMatter.rule, agentMatter.subject)
	if m.open || !j.raise(m, t, nil) {
		return
	}
	j.tell(m, Verdict{
		Severity: spoorv1.Severity_SEVERITY_MEDIUM, Time: t,
		Title: fmt.Sprintf("%s: its agent has been silent since %s", printable(node), n.since.UTC().Format(time.DateTime+" UTC")),
		Why:   "Workloads with a contract ran there, and nobody sees what they do. Whoever wants to do something unseen stops the agent first.",
		Fix:   "Find out whether the node is up and its agent runs (its service manager, or its DaemonSet's pod, and their log) and reaches the collector. If the node is gone for good, resolve the finding.",
	})
}
