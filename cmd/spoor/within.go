// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// within has every question be about one cluster.
type within string

// narrow puts the cluster into a question. What is about one process or finding is in one cluster anyway, which is not told from the question.
func (w within) narrow(m any) error {
	if w == "" {
		return nil
	}
	cluster := string(w)
	switch r := m.(type) {
	case *spoorv1.ListEventsRequest:
		r.Filter = in(r.GetFilter(), cluster)
	case *spoorv1.FollowEventsRequest:
		r.Filter = in(r.GetFilter(), cluster)
	case *spoorv1.ListFindingsRequest:
		r.Cluster = cluster
	case *spoorv1.ListEdgesRequest:
		r.Cluster = cluster
	case *spoorv1.GetStatusRequest:
		r.Cluster = cluster
	case *spoorv1.RunSQLRequest:
		return connect.NewError(connect.CodeInvalidArgument, errors.New("--cluster does not narrow SQL: write WHERE cluster = '...' into the statement"))
	}
	return nil
}

func in(f *spoorv1.EventFilter, cluster string) *spoorv1.EventFilter {
	if f == nil {
		f = &spoorv1.EventFilter{}
	}
	f.Cluster = cluster
	return f
}

// WrapUnary implements connect.Interceptor.
func (w within) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		if err := w.narrow(r.Any()); err != nil {
			return nil, err
		}
		return next(ctx, r)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (w within) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		return &narrowing{next(ctx, spec), w}
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (within) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

type narrowing struct {
	connect.StreamingClientConn
	within within
}

// Send implements connect.StreamingClientConn.
func (n *narrowing) Send(m any) error {
	if err := n.within.narrow(m); err != nil {
		return err
	}
	return n.StreamingClientConn.Send(m)
}
