// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Set holds contracts and finds the one that applies to a workload. It is not changed after it was made and may be
// used by many goroutines; a reload makes a new one. A nil Set is empty.
type Set struct {
	// In order of precedence.
	policies []*policy
	// Those that name kind and workload literally, by both; the others are tried one by one.
	literal  map[kindName][]*policy
	patterns []*policy
}

type kindName struct{ kind, name string }

// NewSet makes a set of contracts that did not come from files, or came from several places.
func NewSet(contracts ...*Contract) (*Set, error) {
	var errs []error
	for _, c := range contracts {
		if err := c.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("contract %q: %w", c.FullName(), err))
		}
	}
	checkDuplicates(contracts, func(c *Contract, fix, problem string) {
		errs = append(errs, &ParseError{File: c.file, Line: c.line, Column: min(c.line, 1), Problem: problem, Fix: fix})
	})
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return newSet(contracts), nil
}

// Files calls fn for every file below fsys that contracts are read from, sorted by name: *.yaml and *.yml. Folders and files whose
// names begin with a dot are left out: what git and Kubernetes' mounts of ConfigMaps keep beside the files.
func Files(fsys fs.FS, fn func(name string, data []byte)) error {
	return fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read contracts: %w", err)
		}
		if name != "." && strings.HasPrefix(entry.Name(), ".") {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if ext := path.Ext(name); entry.IsDir() || ext != ".yaml" && ext != ".yml" {
			return nil
		}
		// Stat follows links: in a mounted ConfigMap every file is one.
		if info, err := fs.Stat(fsys, name); err != nil {
			return fmt.Errorf("read contracts: %w", err)
		} else if info.IsDir() {
			return nil
		}
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return fmt.Errorf("read contracts: %w", err)
		}
		fn(name, data)
		return nil
	})
}

// Load reads all Files below fsys into one set. The error joins a *ParseError for everything that is wrong with any of them; then
// there is no set.
func Load(fsys fs.FS) (*Set, error) {
	var contracts []*Contract
	var errs []error
	err := Files(fsys, func(name string, data []byte) {
		found := newProblems(name)
		contracts = append(contracts, parse(found, data)...)
		if err := found.err(); err != nil {
			errs = append(errs, err)
		}
	})
	if err != nil {
		return nil, err
	}
	checkDuplicates(contracts, func(c *Contract, fix, problem string) {
		errs = append(errs, &ParseError{File: c.file, Line: c.line, Column: 1, Problem: problem, Fix: fix})
	})
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return newSet(contracts), nil
}

func newSet(contracts []*Contract) *Set {
	s := &Set{literal: map[kindName][]*policy{}}
	for _, c := range contracts {
		s.policies = append(s.policies, compile(c))
	}
	slices.SortStableFunc(s.policies, precedence)
	for rank, p := range s.policies {
		p.rank = rank
		w := p.contract.Spec.Workload
		if w.Kind.literal() && w.Name.literal() {
			key := kindName{string(w.Kind), string(w.Name)}
			s.literal[key] = append(s.literal[key], p)
		} else {
			s.patterns = append(s.patterns, p)
		}
	}
	return s
}

// precedence orders contracts so that of two that select the same workload the more particular one comes first. One that
// names it comes before one that knows it by its labels, and of those the one with more conditions for them. Then they are
// compared by name, namespace, kind and cluster in this order: a literal part comes before a pattern, and of two
// patterns the one with more literal characters. What is still equal is ordered by the contracts' names.
func precedence(a, b *policy) int {
	i, j := a.id, b.id
	named := func(p NamePattern) int {
		if p.literal() {
			return 0
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(named(i.name), named(j.name)), cmp.Compare(len(b.conditions), len(a.conditions)),
		particular(i.name, j.name), particular(i.namespace, j.namespace),
		particular(i.kind, j.kind), particular(i.cluster, j.cluster),
		strings.Compare(a.contract.FullName(), b.contract.FullName()), strings.Compare(a.contract.where(), b.contract.where()))
}

func particular(a, b NamePattern) int {
	weight := func(p NamePattern) int {
		if p.literal() {
			return 1 << 16
		}
		return len(p) - strings.Count(string(p), "*")
	}
	// Two literal parts that select the same workload are equal, however long.
	return cmp.Compare(weight(b), weight(a))
}

// Len is the number of contracts.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.policies)
}

// Contracts returns the contracts in order of precedence.
func (s *Set) Contracts() []*Contract {
	if s == nil {
		return nil
	}
	all := make([]*Contract, len(s.policies))
	for i, p := range s.policies {
		all[i] = p.contract
	}
	return all
}

// For returns the contract that applies to a workload, nil when there is none. Where that depends on labels that are not
// known it is none, and sure is false: whichever it may be would judge by what was agreed for others.
func (s *Set) For(w *spoorv1.Workload, labels Labels) (c *Contract, sure bool) {
	p, sure := s.policy(w, labels)
	if p != nil {
		c = p.contract
	}
	return c, sure
}

func (s *Set) policy(w *spoorv1.Workload, labels Labels) (p *policy, sure bool) {
	if s == nil || w == nil {
		return nil, true
	}
	best, answer := first(s.literal[kindName{w.GetKind(), w.GetName()}], w, labels)
	if p, a := first(s.patterns, w, labels); a != never && (answer == never || p.rank < best.rank) {
		best, answer = p, a
	}
	if answer == perhaps {
		return nil, false
	}
	return best, true
}

// first returns the first policy that selects a workload, or may.
func first(policies []*policy, w *spoorv1.Workload, labels Labels) (*policy, answered) {
	for _, p := range policies {
		if a := p.selects(w, labels); a != never {
			return p, a
		}
	}
	return nil, never
}
