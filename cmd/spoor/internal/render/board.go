// SPDX-License-Identifier: Apache-2.0

package render

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/contract"
)

// Board sums up a stream of events as a live table: who does what, how often, when last. It holds a bounded
// number of rows; the one that was quiet for the longest makes room. It is not safe for concurrent use.
type Board struct {
	rows    map[string]*boardRow
	limit   int
	hidden  uint32
	recent  []burst
	started time.Time

	// Counts since the start.
	Events    uint64
	Lost      uint64
	Processes uint64
	// What was lost, by source and reason.
	losses map[string]uint64
	// The widest workload so far: a column that came and went with its rows would be restless.
	workload int
}

type boardRow struct {
	event *spoorv1.Event
	key   string
	times int
	last  time.Time
}

// burst is the number of events that arrived at one time.
type burst struct {
	at time.Time
	n  int
}

// widestOnBoard is how wide the workloads of a board may be.
const widestOnBoard = 24

// rateWindow is the time over which the rate in the heading is taken.
const rateWindow = 5 * time.Second

// NewBoard returns a board that keeps limit rows and shows none for the process hidden: the one that draws
// would otherwise watch itself drawing. Its events are counted all the same.
func NewBoard(limit int, hidden uint32, now time.Time) *Board {
	return &Board{rows: map[string]*boardRow{}, limit: limit, hidden: hidden, started: now, losses: map[string]uint64{}}
}

// Add takes events that arrived now and returns those that tell something for the first time.
func (b *Board) Add(now time.Time, events ...*spoorv1.Event) []*spoorv1.Event {
	b.recent = append(b.recent, burst{now, len(events)})
	var news []*spoorv1.Event
	for _, ev := range events {
		b.Events++
		if loss := ev.GetLoss(); loss != nil {
			b.Lost += loss.GetCount()
			b.losses[Printable(loss.GetSource())+": "+Printable(loss.GetReason())] += loss.GetCount()
		}
		if c := ev.GetProcessStart().GetCause(); c == spoorv1.ProcessStart_CAUSE_FORK || c == spoorv1.ProcessStart_CAUSE_EXEC {
			b.Processes++
		}
		if !b.telling(ev) {
			continue
		}
		key := WorkloadName(ev.GetInstance().GetWorkload(), "") + "\x00" + ev.GetProcess().GetComm() + "\x00" + topic(ev)
		row := b.rows[key]
		if row == nil {
			b.makeRoom()
			row = &boardRow{key: key}
			b.rows[key] = row
			news = append(news, ev)
		}
		row.event = ev
		row.times++
		row.last = When(ev).AsTime()
	}
	return news
}

// telling leaves out what is too common to be looked at: processes that were there before, forks, good ends.
func (b *Board) telling(ev *spoorv1.Event) bool {
	if p := ev.GetProcess(); p != nil && p.GetTgid() == b.hidden {
		return false
	}
	switch fact := ev.GetFact().(type) {
	case *spoorv1.Event_ProcessStart:
		return fact.ProcessStart.GetCause() == spoorv1.ProcessStart_CAUSE_EXEC
	case *spoorv1.Event_ProcessExit:
		return fact.ProcessExit.GetSignal() != 0
	case *spoorv1.Event_Coverage:
		return false
	}
	return true
}

// topic is wider than what an event is about: files of one family are one row, and so are the runs of one program.
func topic(ev *spoorv1.Event) string {
	switch fact := ev.GetFact().(type) {
	case *spoorv1.Event_ProcessStart:
		return "run " + ev.GetProcess().GetExe()
	case *spoorv1.Event_FileWrite:
		return "write " + string(contract.Generalise(fact.FileWrite.GetFile().GetPath()))
	case *spoorv1.Event_FileChange:
		return fmt.Sprint("change ", fact.FileChange.GetOperation(), contract.Generalise(fact.FileChange.GetFile().GetPath()))
	default:
		return about(ev)
	}
}

func (b *Board) makeRoom() {
	if len(b.rows) < b.limit {
		return
	}
	var oldest *boardRow
	for _, row := range b.rows {
		if oldest == nil || row.last.Before(oldest.last) {
			oldest = row
		}
	}
	delete(b.rows, oldest.key)
}

// Rate is the number of events a second over the last few seconds.
func (b *Board) Rate(now time.Time) float64 {
	for len(b.recent) > 0 && now.Sub(b.recent[0].at) > rateWindow {
		b.recent = b.recent[1:]
	}
	n := 0
	for _, burst := range b.recent {
		n += burst.n
	}
	window := min(rateWindow, now.Sub(b.started))
	if window <= 0 {
		return 0
	}
	return float64(n) / window.Seconds()
}

// Heading is one line with the rate and the sums.
func (b *Board) Heading(s Style, now time.Time, findings int) string {
	parts := []cell{
		{Rate(b.Rate(now)) + " events/s", bold},
		{plural(b.Events, "event"), none},
		{plural(b.Processes, "process") + " started", none},
		{"no open finding", none},
		{b.Losses(), good},
	}
	if findings > 0 {
		parts[3] = cell{plural(findings, "open finding"), warn}
	}
	if b.Lost > 0 {
		parts[4].hue = bad
	}
	const separator = " · "
	var line strings.Builder
	room := s.Width
	for i, part := range parts {
		if i > 0 {
			room -= width(separator)
			if s.Width > 0 && room <= 0 {
				break
			}
			line.WriteString(s.paint(faint, separator))
		}
		if s.Width > 0 {
			part.text = cutEnd(part.text, room)
			room -= width(part.text)
		}
		line.WriteString(s.paint(part.hue, part.text))
	}
	return line.String()
}

// Summary says in words what was taken.
func (b *Board) Summary() string {
	return plural(b.Events, "event") + ", " + plural(b.Processes, "process") + " started, " + b.Losses()
}

// Losses says what was lost, the most first.
func (b *Board) Losses() string {
	if b.Lost == 0 {
		return "nothing lost"
	}
	reasons := make([]string, 0, len(b.losses))
	for reason := range b.losses {
		reasons = append(reasons, reason)
	}
	slices.SortFunc(reasons, func(x, y string) int {
		return cmp.Or(cmp.Compare(b.losses[y], b.losses[x]), strings.Compare(x, y))
	})
	for i, reason := range reasons {
		reasons[i] = grouped(b.losses[reason]) + " " + reason
	}
	return plural(b.Lost, "fact") + " lost (" + strings.Join(reasons, ", ") + ")"
}

// Table returns the rows that spoke last, at most height lines with their heading.
func (b *Board) Table(s Style, height int) []string {
	rows := make([]*boardRow, 0, len(b.rows))
	for _, row := range b.rows {
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(x, y *boardRow) int { return cmp.Or(y.last.Compare(x.last), strings.Compare(x.key, y.key)) })
	rows = rows[:min(len(rows), max(0, height-1))]
	for _, row := range rows {
		b.workload = min(max(b.workload, width(WorkloadName(row.event.GetInstance().GetWorkload(), row.event.GetNode()))), widestOnBoard)
	}
	t := table{columns: []column{
		{title: "LAST", fixed: 8},
		{title: "EXEC ID", drop: 1, fixed: 8},
		{title: "PROCESS", fixed: 20, min: 12},
		{title: "WORKLOAD", fixed: max(b.workload, len("WORKLOAD")), min: 12, cut: cutMiddle, drop: 2},
		{title: "TIMES", right: true},
		{title: "WHAT", min: 28, cut: cutSentence},
	}}
	for _, row := range rows {
		ev := row.event
		t.add(
			cell{s.second(When(ev)), faint},
			cell{ShortID(ev.GetProcess().GetExecId()), faint},
			text(process(ev.GetProcess())),
			text(WorkloadName(ev.GetInstance().GetWorkload(), ev.GetNode())),
			text(fmt.Sprint(row.times)),
			cell{Sentence(ev), kindHue(ev.GetKind())},
		)
	}
	return strings.Split(strings.TrimSuffix(t.text(s), "\n"), "\n")
}
