// SPDX-License-Identifier: Apache-2.0

package render

import (
	"io"
	"strings"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// branch is one process in a drawn tree.
type branch struct {
	node     *spoorv1.TreeNode
	children []*branch
}

// Tree draws a process with its ancestors and descendants. The nodes come as GetTree returns them: depth
// first, each with its distance from the process that was asked for.
func Tree(w io.Writer, s Style, nodes []*spoorv1.TreeNode) error {
	var b strings.Builder
	for _, root := range grow(nodes) {
		root.draw(&b, s, "", "")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// grow joins nodes to the trees that their depths describe. It makes no tree deeper than the nodes are many,
// whatever the depths say.
func grow(nodes []*spoorv1.TreeNode) []*branch {
	var roots, way []*branch
	for _, n := range nodes {
		b := &branch{node: n}
		for len(way) > 0 && way[len(way)-1].node.GetDepth() >= n.GetDepth() {
			way = way[:len(way)-1]
		}
		if len(way) == 0 {
			roots = append(roots, b)
		} else {
			parent := way[len(way)-1]
			parent.children = append(parent.children, b)
		}
		way = append(way, b)
	}
	return roots
}

// settled skips forks that did nothing but execute a program: with that program they are one thing to a
// reader. The process that was asked for is never skipped.
func (b *branch) settled() *branch {
	for len(b.children) == 1 && b.node.GetDepth() != 0 && b.node.GetExit() == nil {
		child, p := b.children[0].node.GetProcess(), b.node.GetProcess()
		if child.GetTgid() != p.GetTgid() || child.GetParentExecId() != p.GetExecId() {
			break
		}
		b = b.children[0]
	}
	return b
}

func (b *branch) draw(out *strings.Builder, s Style, first, rest string) {
	b = b.settled()
	line := first + b.line()
	h := none
	switch depth := b.node.GetDepth(); {
	case depth == 0:
		line += "  ◀ asked for"
		h = bold
	case depth < 0:
		h = faint
	}
	if s.Width > 0 {
		line = cutEnd(line, s.Width)
	}
	out.WriteString(s.paint(h, line) + "\n")
	for i, child := range b.children {
		if i == len(b.children)-1 {
			child.draw(out, s, rest+"└─ ", rest+"   ")
		} else {
			child.draw(out, s, rest+"├─ ", rest+"│  ")
		}
	}
}

func (b *branch) line() string {
	p := b.node.GetProcess()
	line := process(p) + "  " + ShortID(p.GetExecId()) + "  " + Command(p)
	if x := b.node.GetExit(); x != nil {
		line += "  (" + Exit(x)
		if start, end := p.GetStartTime(), b.node.GetExitTime(); start != nil && end != nil {
			if d := end.AsTime().Sub(start.AsTime()); d >= 0 {
				line += " after " + Duration(d)
			}
		}
		line += ")"
	}
	return line
}
