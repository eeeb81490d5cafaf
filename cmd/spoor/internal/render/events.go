// SPDX-License-Identifier: Apache-2.0

package render

import (
	"io"
	"strings"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ShortID is as much of an exec_id as tells processes apart in a table; a unique prefix is enough to ask for one.
func ShortID(execID string) string {
	const enough = 8
	if len(execID) > enough {
		execID = execID[:enough]
	}
	if execID == "" {
		return "-"
	}
	return Printable(execID)
}

func eventColumns(stream bool) []column {
	columns := []column{
		{title: "TIME"},
		{title: "NODE", drop: 4, min: 8},
		{title: "EXEC ID", drop: 1},
		{title: "PROCESS", min: 12},
		{title: "WORKLOAD", min: 12, cut: cutMiddle, drop: 2},
		{title: "KIND", drop: 3},
		{title: "WHAT", min: 28, cut: cutSentence},
	}
	if stream {
		for i, fixed := range []int{12, 8, 8, 20, 24, 13, 40} {
			columns[i].fixed = fixed
		}
	}
	return columns
}

func eventRow(s Style, ev *spoorv1.Event) []cell {
	return []cell{
		{s.moment(When(ev)), faint},
		text(Printable(ev.GetNode())),
		{ShortID(ev.GetProcess().GetExecId()), faint},
		text(process(ev.GetProcess())),
		text(WorkloadName(ev.GetInstance().GetWorkload(), ev.GetNode())),
		{Printable(ev.GetKind()), kindHue(ev.GetKind())},
		text(Sentence(ev)),
	}
}

// Events writes a table of events. The node has a column only when there is more than one.
func Events(w io.Writer, s Style, events []*spoorv1.Event) error {
	t := table{columns: eventColumns(false)}
	nodes := map[string]bool{}
	for _, ev := range events {
		t.add(eventRow(s, ev)...)
		nodes[ev.GetNode()] = true
	}
	if len(nodes) < 2 {
		t.remove(1)
	}
	return t.write(w, s)
}

// lineWidth is where a line by itself ends when no terminal does it: some command lines are endless.
const lineWidth = 200

// When an event happened: by the collector's clock where that of the node was off, so that those of several nodes are in order.
func When(ev *spoorv1.Event) *timestamppb.Timestamp {
	if at := ev.GetCorrectedTime(); at != nil {
		return at
	}
	return ev.GetTime()
}

// Line tells one event by itself.
func Line(s Style, ev *spoorv1.Event) string {
	who := process(ev.GetProcess())
	if w := WorkloadName(ev.GetInstance().GetWorkload(), ev.GetNode()); w != "-" {
		who += " of " + w
	}
	if ev.GetProcess() == nil {
		who = Printable(ev.GetNode())
	}
	line := s.paint(faint, s.second(When(ev))) + "  " + who + " " + s.paint(kindHue(ev.GetKind()), cutEnd(Sentence(ev), max(lineWidth-width(who), lineWidth/2)))
	if id := ev.GetProcess().GetExecId(); id != "" {
		line += s.paint(faint, "  "+ShortID(id))
	}
	return line
}

// EventStream writes events line by line, as they come, in columns whose widths are fixed beforehand.
type EventStream struct {
	w      io.Writer
	style  Style
	layout layout
}

// NewEventStream writes the heading and returns a stream that writes below it.
func NewEventStream(w io.Writer, s Style) (*EventStream, error) {
	t := table{columns: eventColumns(true)}
	if s.Width > 0 {
		// What is left of the line belongs to the last column.
		last := &t.columns[len(t.columns)-1]
		l := t.layout(Style{})
		last.fixed = max(last.fixed, s.Width-l.total()+last.fixed)
	}
	st := &EventStream{w: w, style: s, layout: t.layout(s)}
	var b strings.Builder
	st.layout.header(&b, s)
	_, err := io.WriteString(w, b.String())
	return st, err
}

// Write adds one event.
func (st *EventStream) Write(ev *spoorv1.Event) error {
	var b strings.Builder
	st.layout.row(&b, st.style, eventRow(st.style, ev))
	_, err := io.WriteString(st.w, b.String())
	return err
}
