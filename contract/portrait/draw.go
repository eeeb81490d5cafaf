// SPDX-License-Identifier: Apache-2.0

package portrait

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/contract"
)

// The words of Portrait.Verdict.
const (
	Stateless  = "stateless"
	KeepsState = "keeps state"
	Unclear    = "unclear"
)

func (s *subject) portrait(name string, now time.Time) Portrait {
	p := Portrait{
		Workload: name, First: s.first, Last: s.last, Instances: len(s.instances), Nodes: len(s.nodes), Evidence: []Evidence{},
		Listeners: s.facts(s.listeners, now), Callers: s.facts(s.callers, now), Calls: s.facts(s.calls, now), Change: []string{},
	}
	for _, v := range s.open {
		e := Evidence{
			Rule: v.Rule, Severity: word(v.Severity.String(), "SEVERITY_"), Subject: v.Subject, Title: v.Title, Fix: fixOf(&v), Since: v.Time,
			weight: weightOf(v.Severity),
		}
		p.Evidence = append(p.Evidence, e)
		p.Weight += e.weight
	}
	slices.SortFunc(p.Evidence, func(a, b Evidence) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Subject, b.Subject))
	})
	for _, e := range p.Evidence {
		if len(p.Change) < 3 && !slices.Contains(p.Change, e.Fix) {
			p.Change = append(p.Change, e.Fix)
		}
	}
	p.decide()
	p.Factors = s.factors(&p)
	return p
}

// fixOf is what to do, without the line for a contract that nobody wrote.
func fixOf(v *contract.Verdict) string {
	fix := v.Fix
	for _, beginning := range []string{" If it ", " If nobody ", " If both ", " If programs "} {
		fix, _, _ = strings.Cut(fix, beginning)
	}
	return fix
}

func weightOf(s spoorv1.Severity) int {
	switch s {
	case spoorv1.Severity_SEVERITY_CRITICAL, spoorv1.Severity_SEVERITY_HIGH:
		return 100
	case spoorv1.Severity_SEVERITY_MEDIUM:
		return 10
	case spoorv1.Severity_SEVERITY_LOW:
		return 1
	default:
		return 0
	}
}

func (s *subject) facts(of map[factKey]*Fact, now time.Time) []Fact {
	all := make([]Fact, 0, len(of))
	for _, f := range of {
		f.New = now.Sub(f.First) < News && now.Sub(s.first) >= News
		all = append(all, *f)
	}
	slices.SortFunc(all, func(a, b Fact) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Who, b.Who), cmp.Compare(a.Transport, b.Transport))
	})
	return all
}

// has counts the evidence of a rule, or of all rules that begin so, without what is only a cache or a log.
func (p *Portrait) has(rule string) int {
	n := 0
	for _, e := range p.Evidence {
		if strings.HasPrefix(e.Rule, rule) && e.weight > 1 {
			n++
		}
	}
	return n
}

// decide says whether the workload is stateless, and how that is known.
func (p *Portrait) decide() {
	switch survives, kept := p.has(contract.RuleStateSurvives), p.has("state."); {
	case survives > 0:
		p.Verdict = KeepsState
		p.Because = append(p.Because, fmt.Sprintf("an instance read what an earlier one wrote: %s", count(survives, "proof")))
	case kept > 0:
		p.Verdict = KeepsState
		p.Because = append(p.Because, fmt.Sprintf("it leaves files that outlive its work: %s", count(kept, "place")))
	case p.Instances < 2:
		p.Verdict = Unclear
		p.Because = append(p.Because, "no state was seen, in one instance only: whether a next life reads what this one left, nobody could see")
	default:
		p.Verdict = Stateless
		p.Because = append(p.Because, fmt.Sprintf("no state was seen in %s, over %s", count(p.Instances, "instance"), p.Last.Sub(p.First).Round(time.Second)))
	}
	if n := p.has("share."); n > 0 {
		p.Because = append(p.Because, fmt.Sprintf("it shares with others: %s", count(n, "place")))
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// factors are those that show from outside a program.
func (s *subject) factors(p *Portrait) []Factor {
	of := func(number, name string, holds bool, yes, no string) Factor {
		if holds {
			return Factor{number, name, "yes", yes}
		}
		return Factor{number, name, "no", no}
	}
	all := []Factor{
		of("IV", "backing services", p.has(contract.RuleShareDatabase) == 0, "no store was seen that another workload calls, too", "another workload calls the same store"),
		{"VI", "processes", map[string]string{Stateless: "yes", KeepsState: "no", Unclear: "unclear"}[p.Verdict], p.Because[0]},
	}
	logs := slices.ContainsFunc(p.Evidence, func(e Evidence) bool { return e.Rule == contract.RuleStateLog })
	port := Factor{"VII", "port binding", "unclear", "no listener was seen: it may have been there before the agent, or there is none"}
	if len(p.Listeners) > 0 {
		port.Holds, port.Because = "yes", "it listens itself: "+count(len(p.Listeners), "port")
	}
	disposable := Factor{"IX", "disposability", "unclear", "no end of a process was seen"}
	switch {
	case s.killed > 0:
		disposable.Holds, disposable.Because = "no", fmt.Sprintf("%d of %d ends of processes were by SIGKILL", s.killed, s.exits)
	case s.exits > 0:
		disposable.Holds, disposable.Because = "yes", fmt.Sprintf("none of %d ends of processes was by SIGKILL", s.exits)
	}
	return append(all, port, disposable,
		of("XI", "logs", !logs, "no log was seen in a file", "logs go to files"))
}
