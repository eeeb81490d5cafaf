// SPDX-License-Identifier: Apache-2.0

package act

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Gap is a fact that no event tells as it was.
type Gap struct {
	Fact Expectation
	// Why says what is missing or different.
	Why string
}

// Wrong is an event that tells what did not happen.
type Wrong struct {
	Event *spoorv1.Event
	Why   string
}

// Report is how a set of events tells an act.
type Report struct {
	Gaps  []Gap
	Wrong []Wrong
}

// OK says that everything was told and nothing was made up.
func (r *Report) OK() bool { return len(r.Gaps)+len(r.Wrong) == 0 }

// String has one line a problem.
func (r *Report) String() string {
	var b strings.Builder
	for _, g := range r.Gaps {
		fmt.Fprintf(&b, "not told: %s by %s (tgid %d)%s: %s\n", g.Fact.Kind, g.Fact.Role, g.Fact.Tgid, subject(&g.Fact), g.Why)
	}
	for _, w := range r.Wrong {
		fmt.Fprintf(&b, "wrong: %s: %s\n", w.Event.GetKind(), w.Why)
	}
	return b.String()
}

func subject(e *Expectation) string {
	switch {
	case e.File != nil && e.TargetPath != "":
		return fmt.Sprintf(" of %q to %q", e.File.Path, e.TargetPath)
	case e.File != nil:
		return fmt.Sprintf(" of %q", e.File.Path)
	case e.Flow != nil:
		return fmt.Sprintf(" with %v", e.Flow.Peer)
	case e.Listen != nil && e.Listen.Socket != "":
		return fmt.Sprintf(" on %q", e.Listen.Socket)
	case e.Listen != nil:
		return fmt.Sprintf(" on %v", e.Listen.Local)
	default:
		return ""
	}
}

// Judge compares what happened with the events of an agent that watched. Events about anything else do not matter; facts of
// the preparation may be told or not. Kinds, when given, are the only ones that are looked for.
func (r *Result) Judge(events []*spoorv1.Event, kinds ...Kind) *Report {
	report := &Report{}
	for i := range r.Facts {
		f := &r.Facts[i]
		if f.Setup || len(kinds) > 0 && !slices.Contains(kinds, f.Kind) {
			continue
		}
		if why := f.told(events); why != "" {
			report.Gaps = append(report.Gaps, Gap{Fact: *f, Why: why})
		}
	}
	for _, ev := range events {
		if why := r.contradicts(ev); why != "" {
			report.Wrong = append(report.Wrong, Wrong{Event: ev, Why: why})
		}
	}
	return report
}

// contradicts says why an event cannot be: only those who wrote a file may be said to have written it.
func (r *Result) contradicts(ev *spoorv1.Event) string {
	w := ev.GetFileWrite()
	if w == nil {
		return ""
	}
	known, tgid := false, int(ev.GetProcess().GetTgid())
	for i := range r.Facts {
		f := &r.Facts[i]
		if f.File == nil || !f.File.is(w.GetFile()) {
			continue
		}
		// A change of names or attributes may be reported as a change of the inode, without content.
		if f.by(ev.GetProcess()) && (f.Kind == FileWrite || !w.GetData()) {
			return ""
		}
		known = known || f.Kind == FileWrite
	}
	for i := range r.Forbidden {
		f := &r.Forbidden[i]
		if f.File.is(w.GetFile()) && f.Tgid == tgid {
			return fmt.Sprintf("process %d (%s) did not write %q", tgid, f.Role, f.File.Path)
		}
		known = known || f.File.is(w.GetFile())
	}
	if known {
		return fmt.Sprintf("process %d (%s) is no writer of %q", tgid, ev.GetProcess().GetComm(), w.GetFile().GetPath())
	}
	return ""
}

// told looks for the fact among the events; it returns what is missing, or "".
func (e *Expectation) told(events []*spoorv1.Event) string {
	switch e.Kind {
	case FileWrite:
		return e.toldOne(events, func(ev *spoorv1.Event) (bool, string) {
			return e.File.is(ev.GetFileWrite().GetFile()), e.comparePath(ev.GetFileWrite().GetFile()) + e.compareSize(ev.GetFileWrite())
		})
	case FileChange:
		return e.toldOne(events, func(ev *spoorv1.Event) (bool, string) {
			c := ev.GetFileChange()
			return c.GetOperation() == e.Operation && e.File.is(c.GetFile()), e.comparePath(c.GetFile()) + e.compareTarget(c)
		})
	case Connection:
		return e.toldInSum(events)
	case Listening:
		return e.toldOne(events, e.compareListen)
	case ProcessStart:
		return e.toldOne(events, func(ev *spoorv1.Event) (bool, string) {
			return ev.GetProcessStart().GetCause() == e.Process.Cause, e.Process.compare(ev.GetProcess())
		})
	case ProcessExit:
		return e.toldOne(events, func(ev *spoorv1.Event) (bool, string) {
			x := ev.GetProcessExit()
			if int(x.GetExitCode()) != e.Process.ExitCode || int(x.GetSignal()) != e.Process.Signal {
				return true, fmt.Sprintf("code %d, signal %d instead of %d, %d; ",
					x.GetExitCode(), x.GetSignal(), e.Process.ExitCode, e.Process.Signal)
			}
			return true, ""
		})
	case Sharing:
		names := map[string]int{}
		for _, ev := range events {
			names[ev.GetProcess().GetExecId()] = int(ev.GetProcess().GetTgid())
		}
		return e.toldOne(events, func(ev *spoorv1.Event) (bool, string) {
			s := ev.GetShare()
			return s.GetKind() == e.Share.Kind && names[s.GetOtherExecId()] == e.Share.OtherTgid, ""
		})
	default:
		return fmt.Sprintf("nobody knows how to look for kind %s", e.Kind)
	}
}

// toldOne wants one event of the fact's kind and process that is about the same thing and differs in nothing.
func (e *Expectation) toldOne(events []*spoorv1.Event, compare func(*spoorv1.Event) (same bool, difference string)) string {
	why := "no such event"
	for _, ev := range events {
		if ev.GetKind() != string(e.Kind) {
			continue
		}
		same, difference := compare(ev)
		switch tgid := int(ev.GetProcess().GetTgid()); {
		case !same:
		case !e.by(ev.GetProcess()):
			if why == "no such event" && e.File != nil {
				why = fmt.Sprintf("only by process %d", tgid)
			}
		case difference == "":
			return ""
		default:
			why = strings.TrimSuffix(difference, "; ")
		}
	}
	return why
}

// by says whether a process is the one that did it.
func (e *Expectation) by(p *spoorv1.Process) bool {
	return int(p.GetTgid()) == e.Tgid || e.Comm != "" && p.GetComm() == e.Comm
}

// is says whether an event's file is this one, or the one below it on an overlay.
func (f *File) is(other *spoorv1.File) bool {
	if other == nil {
		return false
	}
	if other.GetInode() == 0 {
		return f.Path != "" && pathOf(other) == f.Path
	}
	for _, c := range []*File{f, f.Upper} {
		if c != nil && c.Dev == other.GetDev() && c.Inode == other.GetInode() &&
			(!c.HasGeneration || other.GetGeneration() == 0 || other.GetGeneration() == c.Generation) {
			return true
		}
	}
	return false
}

// pathOf is the exact path.
func pathOf(f *spoorv1.File) string {
	if raw := f.GetPathRaw(); len(raw) > 0 {
		return string(raw)
	}
	return f.GetPath()
}

func (e *Expectation) comparePath(f *spoorv1.File) string {
	got, want := pathOf(f), e.File.Path
	switch {
	case want == "", got == want, e.File.Renamed && filepath.Dir(got) == filepath.Dir(want):
		return ""
	case f.GetPathTruncated() && strings.HasSuffix(want, got):
		return ""
	default:
		return fmt.Sprintf("path %q instead of %q; ", got, want)
	}
}

// compareSize: the size that counts is that of the last event of the process, so any event may have it.
func (e *Expectation) compareSize(w *spoorv1.FileWrite) string {
	if int64(w.GetSizeAfter()) != e.File.Size {
		return fmt.Sprintf("size %d instead of %d; ", w.GetSizeAfter(), e.File.Size)
	}
	return ""
}

func (e *Expectation) compareTarget(c *spoorv1.FileChange) string {
	if c.GetTargetPath() != e.TargetPath {
		return fmt.Sprintf("target %q instead of %q; ", c.GetTargetPath(), e.TargetPath)
	}
	return ""
}

func (e *Expectation) compareListen(ev *spoorv1.Event) (bool, string) {
	l := ev.GetListen()
	address := l.GetLocal().GetAddress()
	if e.Listen.Socket != "" {
		return l.GetTransport() == e.Listen.Transport && address == e.Listen.Socket, ""
	}
	same := l.GetTransport() == e.Listen.Transport && l.GetLocal().GetPort() == uint32(e.Listen.Local.Port()) && !l.GetClosed()
	difference := ""
	if want := e.Listen.Local.Addr().String(); address != want {
		difference += fmt.Sprintf("address %s instead of %s; ", address, want)
	}
	if l.GetNetNs() != e.Listen.Netns {
		difference += fmt.Sprintf("network namespace %d instead of %d; ", l.GetNetNs(), e.Listen.Netns)
	}
	return same, difference
}

func (p *Process) compare(got *spoorv1.Process) string {
	difference := ""
	if int(got.GetParentTgid()) != p.ParentTgid {
		difference += fmt.Sprintf("parent %d instead of %d; ", got.GetParentTgid(), p.ParentTgid)
	}
	if p.Cause != causeExec {
		return difference
	}
	if got.GetExe() != p.Exe {
		difference += fmt.Sprintf("executable %q instead of %q; ", got.GetExe(), p.Exe)
	}
	if got.GetCwd() != p.Cwd {
		difference += fmt.Sprintf("working directory %q instead of %q; ", got.GetCwd(), p.Cwd)
	}
	args, want := strings.Join(got.GetArgs(), "\x00"), strings.Join(p.Args, "\x00")
	if raw := got.GetArgsRaw(); len(raw) > 0 {
		args = strings.TrimSuffix(string(raw), "\x00")
	}
	begins := got.GetArgsTruncated() && args != "" && strings.HasPrefix(want, args)
	if args != want && !begins {
		difference += fmt.Sprintf("arguments %.200q instead of %.200q; ", args, want)
	}
	return difference
}

// toldInSum adds up the events of one flow: each tells of an interval.
func (e *Expectation) toldInSum(events []*spoorv1.Event) string {
	want := *e.Flow
	got := Flow{Transport: want.Transport, Direction: want.Direction, Local: want.Local, Peer: want.Peer, Netns: want.Netns}
	why := "no such event"
	for _, ev := range events {
		f := ev.GetFlow()
		if f == nil || !want.is(f) {
			continue
		}
		if tgid := int(ev.GetProcess().GetTgid()); tgid != e.Tgid {
			if why == "no such event" {
				why = fmt.Sprintf("only by process %d", tgid)
			}
			continue
		}
		if f.GetNetNs() != want.Netns {
			why = fmt.Sprintf("network namespace %d instead of %d", f.GetNetNs(), want.Netns)
			continue
		}
		got.Opened += int(f.GetOpened())
		got.Closed += int(f.GetClosed())
		got.Refused += int(f.GetRefused())
		got.TimedOut += int(f.GetTimedOut())
		got.Sent += int64(f.GetBytesSent())
		got.Received += int64(f.GetBytesReceived())
		why = ""
	}
	if why != "" {
		return why
	}
	// Datagrams have no connections; an agent may count a conversation as one.
	if want.Transport == udp {
		got.Opened, got.Closed = want.Opened, want.Closed
	}
	if got != want {
		return fmt.Sprintf("%+v instead of %+v", got.counts(), want.counts())
	}
	return ""
}

// counts is the part of a flow that events add up to.
func (f *Flow) counts() map[string]int64 {
	return map[string]int64{
		"opened": int64(f.Opened), "closed": int64(f.Closed), "refused": int64(f.Refused), "timed_out": int64(f.TimedOut),
		"sent": f.Sent, "received": f.Received,
	}
}

// is says whether an event is about this flow: the server's end is known by address and port, the client's by address.
func (f *Flow) is(other *spoorv1.Flow) bool {
	if other.GetTransport() != f.Transport || other.GetDirection() != f.Direction {
		return false
	}
	if f.Direction == outbound {
		return other.GetPeer().GetAddress() == f.Peer.Addr().String() && other.GetPeer().GetPort() == uint32(f.Peer.Port())
	}
	return other.GetLocal().GetAddress() == f.Local.Addr().String() && other.GetLocal().GetPort() == uint32(f.Local.Port()) &&
		other.GetPeer().GetAddress() == f.Peer.Addr().String()
}
