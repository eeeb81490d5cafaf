// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// Bounds of what a request may hold.
const (
	maxTextBytes = 4096
	maxKinds     = 64
	candidates   = 10
)

// Times outside of these do not fit into 64 bits of nanoseconds since 1970, which is how events carry them.
var (
	earliest = time.Unix(0, 0).UTC()
	latest   = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)
)

// filter reads an EventFilter.
func (s *Service) filter(ctx context.Context, f *spoorv1.EventFilter) (q store.EventQuery, err error) {
	if q.From, q.To, err = interval("filter.from", f.GetFrom(), "filter.to", f.GetTo()); err != nil {
		return q, err
	}
	if len(f.GetKinds()) > maxKinds {
		return q, invalid("filter.kinds", "%d kinds are more than there are: name each once, or none for all", len(f.GetKinds()))
	}
	for _, name := range f.GetKinds() {
		kind, err := store.ParseKind(name)
		if err != nil {
			return q, invalid("filter.kinds", "%w", err)
		}
		q.Kinds = append(q.Kinds, kind)
	}
	if q.Workload, err = pattern("filter.workload", f.GetWorkload(), "filter.cluster", f.GetCluster()); err != nil {
		return q, err
	}
	if q.Node, err = text("filter.node", f.GetNode()); err != nil {
		return q, err
	}
	if q.PathPrefix, err = text("filter.path_prefix", f.GetPathPrefix()); err != nil {
		return q, err
	}
	if q.Address, err = address("filter.address", f.GetAddress()); err != nil {
		return q, err
	}
	if f.GetExecId() != "" {
		q.ExecID, err = s.execID(ctx, "filter.exec_id", f.GetExecId())
	}
	return q, err
}

// interval reads two bounds in time, of which each may be missing: the zero time then.
func interval(fromField string, from *timestamppb.Timestamp, toField string, to *timestamppb.Timestamp) (low, high time.Time, err error) {
	if low, err = moment(fromField, from); err != nil {
		return low, high, err
	}
	if high, err = moment(toField, to); err != nil {
		return low, high, err
	}
	if !low.IsZero() && !high.IsZero() && !low.Before(high) {
		return low, high, invalid(toField, "%s is not after %s %s: the interval is empty", high.Format(time.RFC3339Nano), fromField, low.Format(time.RFC3339Nano))
	}
	return low, high, nil
}

func moment(field string, t *timestamppb.Timestamp) (time.Time, error) {
	switch {
	case t == nil:
		return time.Time{}, nil
	case t.CheckValid() != nil:
		return time.Time{}, invalid(field, "%d s and %d ns are no time: nanos must be from 0 to 999999999", t.GetSeconds(), t.GetNanos())
	}
	at := t.AsTime()
	if at.Before(earliest) || at.After(latest) {
		return time.Time{}, invalid(field, "%s is out of range: write a time from 1970 to 2261, or nothing for no bound", at.Format(time.RFC3339))
	}
	return at, nil
}

func text(field, value string) (string, error) {
	if len(value) > maxTextBytes {
		return "", invalid(field, "%d bytes are too many: write at most %d", len(value), maxTextBytes)
	}
	return value, nil
}

// pattern reads which workloads are meant, and of which cluster.
func pattern(field, value, clusterField, cluster string) (*store.Pattern, error) {
	if _, err := text(field, value); err != nil {
		return nil, err
	}
	if _, err := text(clusterField, cluster); err != nil {
		return nil, err
	}
	p, err := store.ParsePattern(value)
	if err != nil {
		return nil, invalid(field, "%w", err)
	}
	if p, err = p.In(cluster); err != nil {
		return nil, invalid(clusterField, "%w", err)
	}
	return p, nil
}

// address writes an IP address as events do: RFC 5952, and an IPv4 address inside IPv6 as IPv4.
func address(field, value string) (string, error) {
	if value == "" {
		return "", nil
	}
	if at, err := netip.ParseAddr(value); err == nil {
		return at.Unmap().String(), nil
	}
	if at, err := netip.ParseAddrPort(value); err == nil {
		return "", invalid(field, "%q has a port: write the address alone, %s", value, at.Addr().Unmap())
	}
	if _, err := netip.ParsePrefix(value); err == nil {
		return "", invalid(field, "%q is a range: write one address", value)
	}
	return "", invalid(field, "%q is no IP address: write for example 10.0.0.7 or 2001:db8::7", value)
}

// execID finds the one process that is meant by the beginning of its id.
func (s *Service) execID(ctx context.Context, field, prefix string) (string, error) {
	if prefix == "" {
		return "", invalid(field, "it is empty: write the exec_id of a process or its beginning; events show it")
	}
	if _, err := text(field, prefix); err != nil {
		return "", err
	}
	ids, err := s.o.Store.ExecIDs(ctx, prefix, candidates+1)
	if err != nil {
		return "", err
	}
	switch {
	case len(ids) == 0:
		return "", notFound("%s: no process is known whose exec_id begins with %q: it was never reported, or is no longer stored", field, prefix)
	case len(ids) == 1, ids[0] == prefix:
		return ids[0], nil
	}
	return "", ambiguous(field, prefix, "processes", ids)
}

// findingID finds the one finding that is meant by the beginning of its id.
func (s *Service) findingID(ctx context.Context, id string) (fingerprint string, err error) {
	const field = "id"
	if id == "" {
		return "", invalid(field, "it is empty: write the id of a finding or its beginning")
	}
	if _, err := text(field, id); err != nil {
		return "", err
	}
	found, err := s.o.Store.FindingIDs(ctx, strings.ToLower(id), candidates+1)
	if err != nil {
		return "", err
	}
	switch len(found) {
	case 0:
		return "", notFound("%s: no finding has an id that begins with %q", field, id)
	case 1:
		return found[0].Fingerprint, nil
	}
	ids := make([]string, len(found))
	for i, f := range found {
		ids[i] = f.ID
	}
	return "", ambiguous(field, id, "findings", ids)
}

// ambiguous lists what could have been meant.
func ambiguous(field, prefix, what string, ids []string) error {
	more := ""
	if len(ids) > candidates {
		ids, more = ids[:candidates], " and more"
	}
	return invalid(field, "%q is the beginning of the ids of several %s: write more of it; there are %s%s", prefix, what, strings.Join(ids, ", "), more)
}
