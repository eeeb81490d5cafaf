// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
)

// identity is what makes two contracts be about the same workloads.
type identity struct {
	cluster, namespace, kind, name NamePattern
	labels                         string
}

func (c *Contract) identity() identity {
	star := func(p NamePattern) NamePattern {
		if p == "" {
			return "*"
		}
		return p
	}
	w := c.Spec.Workload
	return identity{star(w.Cluster), star(c.namespace()), star(w.Kind), star(w.Name), w.Labels()}
}

func (i identity) String() string {
	s := fmt.Sprintf("%s %s", i.kind, i.name)
	if i.namespace != "*" {
		s = fmt.Sprintf("%s %s/%s", i.kind, i.namespace, i.name)
	}
	if i.labels != "" {
		s += " with " + i.labels
	}
	if i.cluster != "*" {
		s += fmt.Sprintf(" of cluster %s", i.cluster)
	}
	return s
}

// checkDuplicates reports contracts that select the same workloads or bear the same name, each against the first.
func checkDuplicates(contracts []*Contract, report func(c *Contract, fix, problem string)) {
	byWorkload, byName := map[identity]*Contract{}, map[string]*Contract{}
	for _, c := range contracts {
		// Without these the contract is refused for another reason.
		if w := c.Spec.Workload; w.Kind != "" && w.Name != "" || w.ByLabels() {
			if first, ok := byWorkload[c.identity()]; ok {
				report(c, "keep one of them, or narrow one with namespace or cluster",
					fmt.Sprintf("a second contract for %s; the first is %s", c.identity(), first.where()))
			} else {
				byWorkload[c.identity()] = c
			}
		}
		if c.Metadata.Name != "" {
			if first, ok := byName[c.FullName()]; ok {
				report(c, "give each its own metadata.name",
					fmt.Sprintf("a second contract with the name %s; the first is %s", c.FullName(), first.where()))
			} else {
				byName[c.FullName()] = c
			}
		}
	}
}

// where is file:line, or the name of a contract that came from no file.
func (c *Contract) where() string {
	if c.file == "" {
		return c.FullName()
	}
	return fmt.Sprintf("%s:%d", c.file, c.line)
}
