// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"fmt"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"zombiezen.com/go/sqlite"
)

// ExecIDs implements store.Reader.
func (s *Store) ExecIDs(ctx context.Context, prefix string, limit int) ([]string, error) {
	var ids []string
	err := s.read(ctx, func(c *sqlite.Conn) error {
		r := &reader{conn: c, cache: s.cache}
		return r.each("SELECT DISTINCT exec_id FROM process WHERE exec_id >= ? AND exec_id < ? ORDER BY exec_id LIMIT ?",
			[]any{prefix, prefixEnd(prefix), limit}, func(st *sqlite.Stmt) error {
				ids = append(ids, st.ColumnText(0))
				return nil
			})
	})
	if err != nil {
		return nil, fmt.Errorf("exec ids: %w", err)
	}
	return ids, nil
}

// Tree implements store.Reader.
func (s *Store) Tree(ctx context.Context, execID string, limit int) (nodes []*spoorv1.TreeNode, cut bool, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) error {
		nodes, cut, err = store.Tree(ctx, &kin{reader{conn: c, cache: s.cache}}, execID, limit)
		return err
	})
	return nodes, cut, err
}

// kin implements store.Kin.
type kin struct{ reader }

// Children implements store.Kin. Who comes first is the one whose first event does.
func (k *kin) Children(ctx context.Context, parents []string, limit int) (all []store.Child, err error) {
	list, err := jsonArray(parents)
	if err != nil {
		return nil, err
	}
	err = k.each(`SELECT parent_exec_id, exec_id FROM process WHERE parent_exec_id IN (SELECT value FROM json_each(?))
		GROUP BY parent_exec_id, exec_id ORDER BY min(first_event), min(id) LIMIT ?`, []any{list, limit}, func(st *sqlite.Stmt) error {
		all = append(all, store.Child{Parent: st.ColumnText(0), ExecID: st.ColumnText(1)})
		return ctx.Err()
	})
	return all, err
}

// Processes implements store.Kin.
func (k *kin) Processes(ctx context.Context, execIDs []string) (map[string]*spoorv1.TreeNode, error) {
	list, err := jsonArray(execIDs)
	if err != nil {
		return nil, err
	}
	known := map[string]*spoorv1.TreeNode{}
	err = k.each("SELECT "+processColumns+`, id, coalesce(instance, 0), node, exit_time, exit_code, exit_signal FROM process
		WHERE exec_id IN (SELECT value FROM json_each(?)) ORDER BY id`, []any{list}, func(st *sqlite.Stmt) error {
		n := &spoorv1.TreeNode{}
		id, instance, node := st.ColumnInt64(processWidth), st.ColumnInt64(processWidth+1), st.ColumnInt64(processWidth+2)
		if !st.ColumnIsNull(processWidth + 3) {
			n.ExitTime = columnTime(st, processWidth+3)
			n.Exit = &spoorv1.ProcessExit{ExitCode: uint32(st.ColumnInt64(processWidth + 4)), Signal: uint32(st.ColumnInt64(processWidth + 5))}
		}
		var ok bool
		if n.Process, ok = k.cache.processes.Get(id); !ok {
			if n.Process, err = k.scanProcess(st); err != nil {
				return fmt.Errorf("process %d: %w", id, err)
			}
			k.cache.processes.Add(id, n.Process)
		}
		if n.Instance, err = k.instance(instance); err != nil {
			return err
		}
		if n.Node, err = k.nodeName(node); err != nil {
			return err
		}
		if old := known[n.GetProcess().GetExecId()]; old != nil && n.Exit == nil {
			n.ExitTime, n.Exit = old.GetExitTime(), old.GetExit()
		}
		known[n.GetProcess().GetExecId()] = n
		return ctx.Err()
	})
	return known, err
}
