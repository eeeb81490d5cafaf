// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"strings"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Pattern selects workloads: one glob a part, where * stands for any run of characters and every other character
// for itself. An empty Pattern part that was not written selects all and is "*".
type Pattern struct {
	Cluster, Namespace, Kind, Name string
}

// ParsePattern reads cluster/namespace/kind/name, namespace/kind/name, kind/name or name. The empty string is no
// pattern: nil. A part that is written but empty selects workloads where it is empty, for example the cluster in
// "/host1/Unit/nginx.service".
func ParsePattern(s string) (*Pattern, error) {
	if s == "" {
		return nil, nil
	}
	p := &Pattern{Cluster: "*", Namespace: "*", Kind: "*", Name: "*"}
	parts := strings.Split(s, "/")
	if len(parts) > 4 {
		return nil, fmt.Errorf("workload %q has %d parts: write cluster/namespace/kind/name, namespace/kind/name, kind/name or name", s, len(parts))
	}
	if parts[len(parts)-1] == "" {
		return nil, fmt.Errorf("workload %q has no name: write * to mean all of them", s)
	}
	fields := []*string{&p.Cluster, &p.Namespace, &p.Kind, &p.Name}
	for i, part := range parts {
		*fields[len(fields)-len(parts)+i] = part
	}
	return p, nil
}

// String writes the pattern so that ParsePattern reads it back.
func (p *Pattern) String() string {
	if p == nil {
		return ""
	}
	return p.Cluster + "/" + p.Namespace + "/" + p.Kind + "/" + p.Name
}

// In narrows a pattern, or nil, to a cluster, in which * stands for any run of characters as well; an empty one narrows nothing. A pattern
// that names another cluster is an error.
func (p *Pattern) In(cluster string) (*Pattern, error) {
	switch {
	case cluster == "":
		return p, nil
	case strings.Contains(cluster, "/"):
		return nil, fmt.Errorf("%q is no name of a cluster: write it without a slash", cluster)
	case p == nil:
		return &Pattern{Cluster: cluster, Namespace: "*", Kind: "*", Name: "*"}, nil
	case matchGlob(cluster, p.Cluster):
		return p, nil
	case matchGlob(p.Cluster, cluster):
		narrowed := *p
		narrowed.Cluster = cluster
		return &narrowed, nil
	}
	return nil, fmt.Errorf("workload %s is in another cluster than %q", p, cluster)
}

// Match reports whether w is selected. A nil pattern selects everything; any other selects no nil workload.
func (p *Pattern) Match(w *spoorv1.Workload) bool {
	if p == nil {
		return true
	}
	if w == nil {
		return false
	}
	return matchGlob(p.Cluster, w.GetCluster()) && matchGlob(p.Namespace, w.GetNamespace()) &&
		matchGlob(p.Kind, w.GetKind()) && matchGlob(p.Name, w.GetName())
}

// matchGlob needs no more than len(glob)*len(s) steps: it goes back to the last star only.
func matchGlob(glob, s string) bool {
	g, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, mark = g, i
			g++
		case g < len(glob) && glob[g] == s[i]:
			g++
			i++
		case star >= 0:
			mark++
			g, i = star+1, mark
		default:
			return false
		}
	}
	for g < len(glob) && glob[g] == '*' {
		g++
	}
	return g == len(glob)
}
