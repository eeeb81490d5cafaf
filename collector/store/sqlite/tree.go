// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"fmt"
	"slices"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"zombiezen.com/go/sqlite"
)

// maxAncestors bounds the way up: deeper chains do not occur, but forged parents could form a circle.
const maxAncestors = 256

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
		t := treeReader{reader: reader{conn: c, cache: s.cache}, seen: map[string]bool{}, limit: limit}
		self, err := t.node(execID, 0)
		if err != nil {
			return err
		}
		if self == nil {
			return fmt.Errorf("process %s: %w", execID, store.ErrNotFound)
		}
		if nodes, err = t.ancestors(self); err != nil {
			return err
		}
		t.nodes = append(nodes, self)
		if err := t.descendants(ctx, execID, 1); err != nil {
			return err
		}
		nodes, cut = t.nodes, t.cut
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("process tree: %w", err)
	}
	return nodes, cut, nil
}

type treeReader struct {
	reader
	nodes []*spoorv1.TreeNode
	seen  map[string]bool
	limit int
	cut   bool
}

// node reads the latest version of a process, with its exit from whichever version has it; nil when unknown.
func (t *treeReader) node(execID string, depth int32) (*spoorv1.TreeNode, error) {
	t.seen[execID] = true
	var process, instance, node int64
	n := &spoorv1.TreeNode{Depth: depth}
	err := t.each("SELECT id, coalesce(instance, 0), node, exit_time, exit_code, exit_signal FROM process WHERE exec_id = ? ORDER BY id",
		[]any{execID}, func(st *sqlite.Stmt) error {
			process, instance, node = st.ColumnInt64(0), st.ColumnInt64(1), st.ColumnInt64(2)
			if !st.ColumnIsNull(3) {
				n.ExitTime = columnTime(st, 3)
				n.Exit = &spoorv1.ProcessExit{ExitCode: uint32(st.ColumnInt64(4)), Signal: uint32(st.ColumnInt64(5))}
			}
			return nil
		})
	if err != nil || process == 0 {
		return nil, err
	}
	if n.Process, err = t.process(process); err != nil {
		return nil, err
	}
	if n.Instance, err = t.instance(instance); err != nil {
		return nil, err
	}
	if n.Node, err = t.nodeName(node); err != nil {
		return nil, err
	}
	return n, nil
}

// ancestors returns the chain above self, the oldest first.
func (t *treeReader) ancestors(self *spoorv1.TreeNode) ([]*spoorv1.TreeNode, error) {
	var chain []*spoorv1.TreeNode
	for at := self; len(chain) < maxAncestors; {
		parent := at.GetProcess().GetParentExecId()
		if parent == "" || t.seen[parent] {
			break
		}
		n, err := t.node(parent, at.GetDepth()-1)
		if err != nil {
			return nil, err
		}
		if n == nil {
			break
		}
		chain = append(chain, n)
		at = n
	}
	slices.Reverse(chain)
	return chain, nil
}

func (t *treeReader) descendants(ctx context.Context, execID string, depth int32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var children []string
	// By the first event, which is the order in which they were started.
	err := t.each("SELECT exec_id FROM process WHERE parent_exec_id = ? GROUP BY exec_id ORDER BY min(first_event), min(id)",
		[]any{execID}, func(st *sqlite.Stmt) error {
			children = append(children, st.ColumnText(0))
			return nil
		})
	if err != nil {
		return err
	}
	for _, child := range children {
		if t.seen[child] {
			continue
		}
		if len(t.nodes) >= t.limit {
			t.cut = true
			return nil
		}
		n, err := t.node(child, depth)
		if err != nil {
			return err
		}
		t.nodes = append(t.nodes, n)
		if err := t.descendants(ctx, child, depth+1); err != nil {
			return err
		}
	}
	return nil
}
