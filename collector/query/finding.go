// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// maxFindings and maxEdges bound lists that have no pages; an answer that they cut says so.
const (
	maxFindings = 10_000
	maxEdges    = 10_000
)

const (
	stateOpen         = spoorv1.FindingState_FINDING_STATE_OPEN
	stateAcknowledged = spoorv1.FindingState_FINDING_STATE_ACKNOWLEDGED
	stateResolved     = spoorv1.FindingState_FINDING_STATE_RESOLVED
	stateExpired      = spoorv1.FindingState_FINDING_STATE_EXPIRED
)

// ListFindings implements spoorv1connect.QueryServiceHandler.
func (s *Service) ListFindings(ctx context.Context, r *connect.Request[spoorv1.ListFindingsRequest]) (*connect.Response[spoorv1.ListFindingsResponse], error) {
	return answer(ctx, s, "ListFindings", r, s.listFindings)
}

func (s *Service) listFindings(ctx context.Context, r *spoorv1.ListFindingsRequest) (_ *spoorv1.ListFindingsResponse, err error) {
	q := store.FindingQuery{States: r.GetStates(), Limit: maxFindings + 1}
	for _, state := range q.States {
		if state < stateOpen || state > stateExpired {
			return nil, invalid("states", "%s is no state of a finding: write open, acknowledged, resolved or expired (FINDING_STATE_...)", state)
		}
	}
	if len(q.States) == 0 {
		q.States = []spoorv1.FindingState{stateOpen, stateAcknowledged}
	}
	if q.Workload, err = pattern("workload", r.GetWorkload(), "cluster", r.GetCluster()); err != nil {
		return nil, err
	}
	if q.Rule, err = text("rule", r.GetRule()); err != nil {
		return nil, err
	}
	findings, err := s.o.Store.Findings(ctx, q)
	if err != nil {
		return nil, err
	}
	var cut []string
	if len(findings) > maxFindings {
		findings = findings[:maxFindings]
		cut = append(cut, fmt.Sprintf("there are more findings than the %d that were seen last: ask for one workload, rule or state", maxFindings))
	}
	completeness, err := s.completeness(ctx, scope{workload: q.Workload, kept: true}, cut...)
	if err != nil {
		return nil, err
	}
	return &spoorv1.ListFindingsResponse{Findings: findings, Completeness: completeness}, nil
}

// GetFinding implements spoorv1connect.QueryServiceHandler.
func (s *Service) GetFinding(ctx context.Context, r *connect.Request[spoorv1.GetFindingRequest]) (*connect.Response[spoorv1.GetFindingResponse], error) {
	return answer(ctx, s, "GetFinding", r, s.getFinding)
}

func (s *Service) getFinding(ctx context.Context, r *spoorv1.GetFindingRequest) (*spoorv1.GetFindingResponse, error) {
	fingerprint, err := s.findingID(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	finding, err := s.o.Store.Finding(ctx, fingerprint)
	if err != nil {
		return nil, err
	}
	evidence, err := s.o.Store.EventsByID(ctx, finding.GetEvidenceIds())
	if err != nil {
		return nil, err
	}
	off, err := s.clocks(ctx)
	if err != nil {
		return nil, err
	}
	correct(evidence, off)
	if all := len(finding.GetEvidenceIds()); len(evidence) < all {
		finding = proto.CloneOf(finding)
		if finding.Completeness == nil {
			finding.Completeness = &spoorv1.Completeness{}
		}
		finding.Completeness.Complete = false
		finding.Completeness.Gaps = append(finding.Completeness.Gaps,
			fmt.Sprintf("%d of the %d events that prove it are no longer stored", all-len(evidence), all))
	}
	return &spoorv1.GetFindingResponse{Finding: finding, Evidence: evidence}, nil
}

// UpdateFinding implements spoorv1connect.QueryServiceHandler.
func (s *Service) UpdateFinding(ctx context.Context, r *connect.Request[spoorv1.UpdateFindingRequest]) (*connect.Response[spoorv1.UpdateFindingResponse], error) {
	return answer(ctx, s, "UpdateFinding", r, s.updateFinding)
}

func (s *Service) updateFinding(ctx context.Context, r *spoorv1.UpdateFindingRequest) (*spoorv1.UpdateFindingResponse, error) {
	if state := r.GetState(); state != stateAcknowledged && state != stateResolved {
		return nil, invalid("state", "a person cannot make a finding %s: write %s or %s", state, stateAcknowledged, stateResolved)
	}
	note, err := text("note", r.GetNote())
	if err != nil {
		return nil, err
	}
	fingerprint, err := s.findingID(ctx, r.GetId())
	if err != nil {
		return nil, err
	}
	finding, err := s.o.Findings.Update(ctx, fingerprint, r.GetState(), note)
	if err != nil {
		return nil, fmt.Errorf("update finding %s: %w", r.GetId(), err)
	}
	return &spoorv1.UpdateFindingResponse{Finding: finding}, nil
}
