// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// ExecIDs implements store.Reader.
func (s *Store) ExecIDs(ctx context.Context, prefix string, limit int) ([]string, error) {
	v, err := s.view(ctx)
	if err != nil {
		return nil, fmt.Errorf("exec ids: %w", err)
	}
	d, err := s.client.query(ctx, "SELECT DISTINCT exec_id FROM "+s.layout.table("process")+" WHERE startsWith(exec_id, "+quote(prefix)+") AND "+v.shown()+
		fmt.Sprintf(" ORDER BY exec_id LIMIT %d", limit))
	if err != nil {
		return nil, fmt.Errorf("exec ids: %w", err)
	}
	var ids []string
	for d.more() {
		ids = append(ids, d.text())
	}
	if d.err != nil {
		return nil, fmt.Errorf("exec ids: %w", d.err)
	}
	return ids, nil
}

// Tree implements store.Reader.
func (s *Store) Tree(ctx context.Context, execID string, limit int) ([]*spoorv1.TreeNode, bool, error) {
	v, err := s.view(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("process tree: %w", err)
	}
	return store.Tree(ctx, &kin{store: s, shown: v.shown()}, execID, limit)
}

// kin implements store.Kin.
type kin struct {
	store *Store
	shown string
}

// Children implements store.Kin.
func (k *kin) Children(ctx context.Context, parents []string, limit int) (all []store.Child, err error) {
	d, err := k.store.client.query(ctx, "SELECT parent_exec_id, exec_id FROM "+k.store.layout.table("process")+
		" WHERE parent_exec_id IN ("+quoteAll(parents)+") AND "+k.shown+" GROUP BY parent_exec_id, exec_id ORDER BY min(first), exec_id"+
		fmt.Sprintf(" LIMIT %d", limit))
	if err != nil {
		return nil, err
	}
	for d.more() {
		all = append(all, store.Child{Parent: d.text(), ExecID: d.text()})
	}
	return all, d.err
}

// Processes implements store.Kin.
func (k *kin) Processes(ctx context.Context, ids []string) (map[string]*spoorv1.TreeNode, error) {
	d, err := k.store.client.query(ctx, `SELECT exec_id, node, has, process, instance, max(exited), max(exit_time), max(exit_code), max(exit_signal)
		FROM `+k.store.layout.table("process")+" WHERE exec_id IN ("+quoteAll(ids)+") AND "+k.shown+`
		GROUP BY exec_id, node, has, process, instance ORDER BY exec_id, min(first)`)
	if err != nil {
		return nil, err
	}
	known := map[string]*spoorv1.TreeNode{}
	for d.more() {
		id := d.text()
		n := &spoorv1.TreeNode{Node: d.text()}
		has, process, instance := d.u8(), d.bytes(), d.bytes()
		exited, exit := d.flag(), d.i64()
		code, signal := d.u32(), d.u32()
		if d.err != nil {
			break
		}
		n.Process = &spoorv1.Process{}
		if err := proto.Unmarshal(process, n.Process); err != nil {
			return nil, fmt.Errorf("process %s: %w", id, err)
		}
		if has&hasInstance != 0 {
			n.Instance = &spoorv1.Instance{}
			if err := proto.Unmarshal(instance, n.Instance); err != nil {
				return nil, fmt.Errorf("instance of process %s: %w", id, err)
			}
		}
		if exited {
			n.ExitTime, n.Exit = timestamp(exit), &spoorv1.ProcessExit{ExitCode: code, Signal: signal}
		} else if old := known[id]; old != nil {
			n.ExitTime, n.Exit = old.GetExitTime(), old.GetExit()
		}
		known[id] = n
	}
	return known, d.err
}

func quoteAll(texts []string) string {
	quoted := make([]string, len(texts))
	for i, s := range texts {
		quoted[i] = quote(s)
	}
	return strings.Join(quoted, ", ")
}
