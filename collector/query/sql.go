// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// Limits of RunSQL.
const (
	defaultRows = 1000
	maxRows     = 100_000
)

// RunSQL implements spoorv1connect.QueryServiceHandler.
func (s *Service) RunSQL(ctx context.Context, r *connect.Request[spoorv1.RunSQLRequest]) (*connect.Response[spoorv1.RunSQLResponse], error) {
	return answer(ctx, s, "RunSQL", r, s.runSQL)
}

func (s *Service) runSQL(ctx context.Context, r *spoorv1.RunSQLRequest) (*spoorv1.RunSQLResponse, error) {
	rows, err := limit("max_rows", r.GetMaxRows(), defaultRows, maxRows, "get the rest with another WHERE")
	if err != nil {
		return nil, err
	}
	result, err := s.o.Store.SQL(ctx, store.SQLQuery{Statement: r.GetQuery(), MaxRows: rows, Timeout: s.o.SQLTimeout})
	if err != nil {
		return nil, err
	}
	return &spoorv1.RunSQLResponse{Columns: result.Columns, Rows: result.Rows, More: result.More}, nil
}
