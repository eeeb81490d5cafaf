// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"context"
	"errors"
	"slices"
	"strings"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// restrict refuses what somebody may not ask, and narrows what he asks to his clusters. What is not listed here is refused.
func (i *Interceptor) restrict(ctx context.Context, p *Person, m any) (err error) {
	switch r := m.(type) {
	case *spoorv1.ListEventsRequest:
		if r.Filter == nil {
			r.Filter = &spoorv1.EventFilter{}
		}
		r.Filter.Workload, err = p.narrow(r.GetFilter().GetWorkload(), r.GetFilter().GetCluster())
	case *spoorv1.FollowEventsRequest:
		if r.Filter == nil {
			r.Filter = &spoorv1.EventFilter{}
		}
		r.Filter.Workload, err = p.narrow(r.GetFilter().GetWorkload(), r.GetFilter().GetCluster())
	case *spoorv1.ListFindingsRequest:
		r.Workload, err = p.narrow(r.GetWorkload(), r.GetCluster())
	case *spoorv1.ListEdgesRequest:
		r.Workload, err = p.narrow(r.GetWorkload(), r.GetCluster())
	case *spoorv1.GetTreeRequest, *spoorv1.GetFindingRequest, *spoorv1.GetStatusRequest:
		// What is withheld is known from the answer.
	case *spoorv1.UpdateFindingRequest:
		if p.Role < Responder {
			return denied("%s is a %s: a responder changes findings", p.Name, p.Role)
		}
		if p.Clusters == nil {
			return nil
		}
		f, err := i.Finding(ctx, r.GetId())
		if err != nil {
			return err
		}
		if !p.sees(f.GetWorkload().GetCluster()) {
			return elsewhere()
		}
	case *spoorv1.RunSQLRequest:
		if p.Role < Admin || p.Clusters != nil {
			return denied("%s is a %s: SQL is for an admin of all clusters", p.Name, p.Role)
		}
	default:
		return denied("%s may not ask that", p.Name)
	}
	return err
}

// narrow makes a pattern of workloads speak of clusters that somebody may ask about. Each event of an agent is of a workload in the
// cluster of its certificate.
func (p *Person) narrow(workload, cluster string) (string, error) {
	if p.Clusters == nil {
		return workload, nil
	}
	parsed, err := store.ParsePattern(workload)
	if err == nil {
		parsed, err = parsed.In(cluster)
	}
	if err != nil {
		return workload, nil // for the service to refuse, in its words
	}
	pattern := store.Pattern{Cluster: "*", Namespace: "*", Kind: "*", Name: "*"}
	if parsed != nil {
		pattern = *parsed
	}
	switch {
	case slices.Contains(p.Clusters, pattern.Cluster):
	case pattern.Cluster == "*" && len(p.Clusters) == 1:
		pattern.Cluster = p.Clusters[0]
	case pattern.Cluster == "*":
		return "", denied("%s may ask about several clusters: name one of %s (--cluster)", p.Name, strings.Join(p.Clusters, ", "))
	default:
		return "", denied("%s may ask about %s only", p.Name, strings.Join(p.Clusters, ", "))
	}
	return pattern.String(), nil
}

// elsewhere does not tell whether there is such a thing.
func elsewhere() error {
	return connect.NewError(connect.CodeNotFound, errors.New("there is nothing like it in your clusters"))
}

// otherGaps stands where the gaps of other clusters would be named.
const otherGaps = "there are gaps, maybe of other clusters; who may ask about all clusters sees which"

// withhold takes out of an answer what is of other clusters.
func (p *Person) withhold(m any) error {
	if p.Clusters == nil {
		return nil
	}
	switch r := m.(type) {
	case *spoorv1.GetTreeResponse:
		for _, n := range r.GetNodes() {
			if !p.sees(n.GetInstance().GetWorkload().GetCluster()) {
				return elsewhere()
			}
		}
		withholdGaps(r.GetCompleteness())
	case *spoorv1.GetFindingResponse:
		if !p.sees(r.GetFinding().GetWorkload().GetCluster()) {
			return elsewhere()
		}
		r.Evidence = slices.DeleteFunc(r.GetEvidence(), func(ev *spoorv1.Event) bool {
			return !p.sees(ev.GetInstance().GetWorkload().GetCluster())
		})
	case *spoorv1.ListEdgesResponse:
		withholdGaps(r.GetCompleteness())
	case *spoorv1.GetStatusResponse:
		r.Agents = slices.DeleteFunc(r.GetAgents(), func(a *spoorv1.AgentStatus) bool { return !p.sees(a.GetCluster()) })
		withholdGaps(r.GetCompleteness())
	}
	return nil
}

func withholdGaps(c *spoorv1.Completeness) {
	if len(c.GetGaps()) > 0 {
		c.Gaps = []string{otherGaps}
	}
}
