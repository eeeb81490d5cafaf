// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"slices"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// maxAncestors bounds the way up: deeper chains do not occur, but forged parents could form a circle.
const maxAncestors = 256

// Kin is what a tree of processes is made of.
type Kin interface {
	// Processes returns those of the processes that are known: the latest version of each, with its exit from whichever version has it, and
	// without a depth.
	Processes(ctx context.Context, execIDs []string) (map[string]*spoorv1.TreeNode, error)
	// Children returns the processes that one of these has started, in the order in which they were, and at most limit of them.
	Children(ctx context.Context, parents []string, limit int) ([]Child, error)
}

// Child is a process and who has started it.
type Child struct{ Parent, ExecID string }

// Tree answers Reader.Tree. It reads generation by generation: as many questions as the tree is deep, not as it has processes.
func Tree(ctx context.Context, kin Kin, execID string, limit int) (nodes []*spoorv1.TreeNode, cut bool, err error) {
	t := &tree{kin: kin, seen: map[string]bool{}, children: map[string][]string{}, limit: limit}
	if err := t.read(ctx, execID); err != nil {
		return nil, false, fmt.Errorf("process tree: %w", err)
	}
	return t.nodes, t.cut, nil
}

type tree struct {
	kin      Kin
	seen     map[string]bool
	children map[string][]string // in the order in which they were started
	nodes    []*spoorv1.TreeNode
	limit    int
	cut      bool
}

func (t *tree) read(ctx context.Context, execID string) error {
	known, err := t.kin.Processes(ctx, []string{execID})
	if err != nil {
		return err
	}
	self := known[execID]
	if self == nil {
		return fmt.Errorf("process %s: %w", execID, ErrNotFound)
	}
	t.seen[execID] = true
	if err := t.ancestors(ctx, self); err != nil {
		return err
	}
	// First who there is, then what is known of those that have room.
	room := max(t.limit-len(t.nodes), 1)
	generation, family := []string{execID}, 1
	for len(generation) > 0 && family <= room {
		if generation, err = t.generation(ctx, generation); err != nil {
			return err
		}
		family += len(generation)
	}
	var order []string
	depths := map[string]int32{}
	t.walk(execID, 0, func(id string, depth int32) {
		order = append(order, id)
		depths[id] = depth
	})
	if len(order) > room {
		order, t.cut = order[:room], true
	}
	if known, err = t.kin.Processes(ctx, order); err != nil {
		return err
	}
	for _, id := range order {
		if n := known[id]; n != nil {
			n.Depth = depths[id]
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
	for at := self; len(t.nodes) < maxAncestors; {
		parent := at.GetProcess().GetParentExecId()
		if parent == "" || t.seen[parent] {
			break
		}
		t.seen[parent] = true
		known, err := t.kin.Processes(ctx, []string{parent})
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

// generation returns the children of processes that were not seen yet.
func (t *tree) generation(ctx context.Context, parents []string) (all []string, err error) {
	children, err := t.kin.Children(ctx, parents, t.limit+1)
	if err != nil {
		return nil, err
	}
	for _, c := range children {
		if t.seen[c.ExecID] {
			continue
		}
		t.seen[c.ExecID] = true
		t.children[c.Parent] = append(t.children[c.Parent], c.ExecID)
		all = append(all, c.ExecID)
	}
	return all, nil
}
