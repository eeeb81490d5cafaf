// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// maxAncestors bounds the way up: deeper chains do not occur, but forged parents could form a circle.
const maxAncestors = 256

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
	t := &tree{store: s, shown: v.shown(), seen: map[string]bool{}, children: map[string][]string{}, limit: limit}
	if err := t.read(ctx, execID); err != nil {
		return nil, false, fmt.Errorf("process tree: %w", err)
	}
	return t.nodes, t.cut, nil
}

// tree reads generation by generation: as many questions as it is deep, not as it has processes.
type tree struct {
	store    *Store
	shown    string
	seen     map[string]bool
	children map[string][]string // in the order in which they were started
	nodes    []*spoorv1.TreeNode
	limit    int
	cut      bool
}

func (t *tree) read(ctx context.Context, execID string) error {
	known, err := t.processes(ctx, []string{execID})
	if err != nil {
		return err
	}
	self := known[execID]
	if self == nil {
		return fmt.Errorf("process %s: %w", execID, store.ErrNotFound)
	}
	t.seen[execID] = true
	if err := t.ancestors(ctx, self); err != nil {
		return err
	}
	// First who there is, then what is known of those that have room.
	below := len(t.nodes) + 1
	generation := []string{execID}
	family := []string{execID}
	for len(generation) > 0 && len(family)+below <= t.limit+1 {
		if generation, err = t.generation(ctx, generation); err != nil {
			return err
		}
		family = append(family, generation...)
	}
	var order []string
	var depths []int32
	t.walk(execID, 0, func(id string, depth int32) {
		order, depths = append(order, id), append(depths, depth)
	})
	if room := t.limit - len(t.nodes); len(order) > max(room, 1) {
		order, t.cut = order[:max(room, 1)], true
	}
	if known, err = t.processes(ctx, order); err != nil {
		return err
	}
	for i, id := range order {
		if n := known[id]; n != nil {
			n.Depth = depths[i]
			t.nodes = append(t.nodes, n)
		}
	}
	return nil
}

func (t *tree) walk(id string, depth int32, visit func(string, int32)) {
	visit(id, depth)
	for _, child := range t.children[id] {
		t.walk(child, depth+1, visit)
	}
}

// ancestors puts the chain above self in front, the oldest first.
func (t *tree) ancestors(ctx context.Context, self *spoorv1.TreeNode) error {
	at := self
	for len(t.nodes) < maxAncestors {
		parent := at.GetProcess().GetParentExecId()
		if parent == "" || t.seen[parent] {
			break
		}
		t.seen[parent] = true
		known, err := t.processes(ctx, []string{parent})
		if err != nil {
			return err
		}
		n := known[parent]
		if n == nil {
			break
		}
		n.Depth = at.GetDepth() - 1
		t.nodes = append(t.nodes, n)
		at = n
	}
	slices.Reverse(t.nodes)
	return nil
}

// generation returns the children of processes.
func (t *tree) generation(ctx context.Context, parents []string) ([]string, error) {
	d, err := t.store.client.query(ctx, "SELECT parent_exec_id, exec_id FROM "+t.store.layout.table("process")+
		" WHERE parent_exec_id IN ("+quoteAll(parents)+") AND "+t.shown+" GROUP BY parent_exec_id, exec_id ORDER BY min(first), exec_id"+
		fmt.Sprintf(" LIMIT %d", t.limit+1))
	if err != nil {
		return nil, err
	}
	var all []string
	for d.more() {
		parent, child := d.text(), d.text()
		if t.seen[child] {
			continue
		}
		t.seen[child] = true
		t.children[parent] = append(t.children[parent], child)
		all = append(all, child)
	}
	return all, d.err
}

// processes returns the latest version of each process, with its exit from whichever version has it.
func (t *tree) processes(ctx context.Context, ids []string) (map[string]*spoorv1.TreeNode, error) {
	d, err := t.store.client.query(ctx, `SELECT exec_id, node, has, process, instance, max(exited), max(exit_time), max(exit_code), max(exit_signal)
		FROM `+t.store.layout.table("process")+" WHERE exec_id IN ("+quoteAll(ids)+") AND "+t.shown+`
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
