// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"slices"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// DefaultMaxAge is how old a scratch file of a stateless workload may become when its contract does not say.
const DefaultMaxAge = Duration(10 * time.Minute)

// policy is a contract made ready for judging.
type policy struct {
	contract *Contract
	// Position in the order of precedence of its set.
	rank int
	id   identity
	// What is asked of the labels of workloads.
	conditions []Expression

	owner   *spoorv1.Owner
	scratch []pathMatcher
	volumes []pathMatcher
	shares  []agreedShare
}

// agreedShare is an entry of spec.shares; without a path it is about everything.
type agreedShare struct {
	with Ref
	path *pathMatcher
}

func compile(c *Contract) *policy {
	p := &policy{contract: c, id: c.identity(), conditions: c.Spec.Workload.conditions()}
	if o := c.Spec.Owner; o != (Owner{}) {
		p.owner = &spoorv1.Owner{Team: o.Team, Oncall: o.Oncall}
	}
	for _, s := range c.Spec.Scratch {
		p.scratch = append(p.scratch, compilePath(s.Path))
	}
	for _, v := range c.Spec.Volumes {
		p.volumes = append(p.volumes, compilePath(v.Path))
	}
	for _, s := range c.Spec.Shares {
		agreed := agreedShare{with: s.Workload}
		if s.Path != "" {
			m := compilePath(s.Path)
			agreed.path = &m
		}
		p.shares = append(p.shares, agreed)
	}
	return p
}

func (p *policy) selects(w *spoorv1.Workload, labels Labels) answered {
	if !p.id.name.matches(w.GetName()) || !p.id.kind.matches(w.GetKind()) ||
		!p.id.namespace.matches(w.GetNamespace()) || !p.id.cluster.matches(w.GetCluster()) ||
		len(p.conditions) > 0 && slices.Contains(unlabelled, w.GetKind()) || p.contract.podsOnly && spoorv1.IsNodeKind(w.GetKind()) {
		return never
	}
	answer := always
	for _, e := range p.conditions {
		answer = min(answer, e.matches(labels))
	}
	return answer
}

// state is what the workload is held to: what the contract says, else the default of its kind.
func (p *policy) state(kind string) State {
	if s := p.contract.Spec.State; s != "" {
		return s
	}
	return DefaultState(kind)
}

// maxAge is how old a file below the i-th scratch path may become, 0 for any age.
func (p *policy) maxAge(i int, state State) time.Duration {
	age := p.contract.Spec.Scratch[i].MaxAge
	if age == 0 && state == Stateless {
		age = DefaultMaxAge
	}
	return time.Duration(age)
}

// sharesWith says whether self agreed to share what is at a path with another workload.
func (p *policy) sharesWith(self, other *spoorv1.Workload, path string, truncated bool) bool {
	for _, s := range p.shares {
		switch {
		case s.with != Ref{} && !s.with.matches(other, self):
		case s.path == nil, truncated && s.path.openEnded(), !truncated && s.path.matches(path):
			return true
		}
	}
	return false
}

// covered is where a contract puts a path.
type covered int

const (
	outside covered = iota
	inVolume
	inScratch
	// inUnknown: the beginning of the path is not known and a wide pattern may cover it.
	inUnknown
)

// place finds what covers a path, and which scratch entry. Scratch is looked at first, so that a part of a volume
// can be held to a limit.
func (p *policy) place(path string, truncated bool) (covered, int) {
	if truncated {
		for _, matchers := range [][]pathMatcher{p.scratch, p.volumes} {
			for i := range matchers {
				if matchers[i].openEnded() {
					return inUnknown, 0
				}
			}
		}
		return outside, 0
	}
	for i := range p.scratch {
		if p.scratch[i].matches(path) {
			return inScratch, i
		}
	}
	for i := range p.volumes {
		if p.volumes[i].matches(path) {
			return inVolume, 0
		}
	}
	return outside, 0
}
