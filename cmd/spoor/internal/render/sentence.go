// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Sentence says in words what an event states. Its subject is the process of the event.
func Sentence(ev *spoorv1.Event) string {
	switch fact := ev.GetFact().(type) {
	case *spoorv1.Event_ProcessStart:
		return startSentence(ev.GetProcess(), fact.ProcessStart)
	case *spoorv1.Event_ProcessExit:
		return Exit(fact.ProcessExit)
	case *spoorv1.Event_FileWrite:
		return writeSentence(fact.FileWrite)
	case *spoorv1.Event_FileChange:
		return changeSentence(fact.FileChange)
	case *spoorv1.Event_Flow:
		return flowSentence(ev.GetNode(), fact.Flow)
	case *spoorv1.Event_Listen:
		return listenSentence(fact.Listen)
	case *spoorv1.Event_Dns:
		return dnsSentence(fact.Dns)
	case *spoorv1.Event_Share:
		return shareSentence(ev.GetNode(), fact.Share)
	case *spoorv1.Event_Loss:
		return lossSentence(fact.Loss)
	case *spoorv1.Event_Coverage:
		c := fact.Coverage
		s := fmt.Sprintf("sensor %s: %s", Printable(c.GetSensor()), Printable(c.GetTier()))
		if c.GetReason() != "" {
			s += ", " + Printable(c.GetReason())
		}
		return s
	}
	return Printable(ev.GetKind())
}

func listenSentence(l *spoorv1.Listen) string {
	switch t := l.GetTransport(); t {
	case spoorv1.Transport_TRANSPORT_RAW, spoorv1.Transport_TRANSPORT_PACKET:
		s := "has a " + transport(t) + " socket open"
		if l.GetClosed() {
			s = "closed a " + transport(t) + " socket"
		}
		if t == spoorv1.Transport_TRANSPORT_RAW {
			s += fmt.Sprintf(" for IP protocol %d at %s", l.GetIpProtocol(), hostPort(l.GetLocal()))
		}
		return s
	default:
		verb := "listens on "
		if l.GetClosed() {
			verb = "stopped listening on "
		}
		return verb + transport(t) + " " + hostPort(l.GetLocal())
	}
}

func lossSentence(l *spoorv1.Loss) string {
	s := fmt.Sprintf("%s lost by %s: %s", plural(l.GetCount(), "fact"), Printable(l.GetSource()), Printable(l.GetReason()))
	if l.GetFrom() != nil && l.GetTo() != nil {
		s += ", in the " + l.GetTo().AsTime().Sub(l.GetFrom().AsTime()).Round(time.Millisecond).String() + " before"
	}
	return s
}

func startSentence(p *spoorv1.Process, start *spoorv1.ProcessStart) string {
	switch start.GetCause() {
	case spoorv1.ProcessStart_CAUSE_FORK:
		return "forked"
	case spoorv1.ProcessStart_CAUSE_FOUND:
		return "was running: " + Command(p)
	default:
		return "started " + Command(p)
	}
}

// Exit says how a process ended.
func Exit(x *spoorv1.ProcessExit) string {
	if n := x.GetSignal(); n != 0 {
		if name := unix.SignalName(syscall.Signal(n)); name != "" {
			return "killed by " + name
		}
		return fmt.Sprintf("killed by signal %d", n)
	}
	return fmt.Sprintf("exited %d", x.GetExitCode())
}

func writeSentence(w *spoorv1.FileWrite) string {
	f := w.GetFile()
	var b strings.Builder
	if w.GetData() || w.GetSizeBefore() != w.GetSizeAfter() {
		b.WriteString("wrote ")
	} else {
		b.WriteString("changed attributes of ")
	}
	b.WriteString(pathOf(f))
	var notes []string
	switch before, after := w.GetSizeBefore(), w.GetSizeAfter(); {
	case before != after:
		notes = append(notes, size(before)+" → "+size(after))
	case w.GetData():
		notes = append(notes, size(after))
	}
	if n := w.GetChanges(); n > 1 {
		note := plural(n, "change")
		if d := w.GetLast().AsTime().Sub(w.GetFirst().AsTime()); d >= time.Second {
			note += " in " + Duration(d)
		}
		notes = append(notes, note)
	}
	if c := storageClass(f.GetStorageClass()); c != "" && c != "host" {
		notes = append(notes, c)
	}
	if f.GetUnlinked() {
		notes = append(notes, "deleted since")
	}
	if len(notes) > 0 {
		b.WriteString(" (" + strings.Join(notes, ", ") + ")")
	}
	return b.String()
}

func changeSentence(c *spoorv1.FileChange) string {
	from, to := pathOf(c.GetFile()), Printable(c.GetTargetPath())
	switch c.GetOperation() {
	case spoorv1.FileChange_OPERATION_CREATE:
		return "created " + from
	case spoorv1.FileChange_OPERATION_RENAME:
		return "renamed " + from + " to " + to
	case spoorv1.FileChange_OPERATION_LINK:
		return "linked " + from + " as " + to
	case spoorv1.FileChange_OPERATION_UNLINK:
		return "removed " + from
	case spoorv1.FileChange_OPERATION_ATTRIBUTES:
		return "changed attributes of " + from
	default:
		return "changed " + from
	}
}

func flowSentence(node string, f *spoorv1.Flow) string {
	inbound := f.GetDirection() == spoorv1.Direction_DIRECTION_INBOUND
	peer := Peer(f.GetPeer(), node)
	var b strings.Builder
	failed := uint64(f.GetRefused()) + uint64(f.GetTimedOut())
	tried := uint64(f.GetOpened()) + uint64(f.GetClosed()) + f.GetBytesSent() + f.GetBytesReceived()
	switch {
	case inbound:
		b.WriteString("was called on " + transport(f.GetTransport()) + " port " + strconv.Itoa(int(f.GetLocal().GetPort())) + " by " + peer)
	case failed > 0 && tried == 0:
		b.WriteString("failed to call " + peer + " over " + transport(f.GetTransport()))
	default:
		b.WriteString("called " + peer + " over " + transport(f.GetTransport()))
	}
	var notes []string
	if n := f.GetOpened(); n > 1 {
		notes = append(notes, plural(n, "connection"))
	}
	if n := f.GetRefused(); n > 0 {
		notes = append(notes, grouped(n)+" refused")
	}
	if n := f.GetTimedOut(); n > 0 {
		notes = append(notes, grouped(n)+" unanswered")
	}
	if n := f.GetBytesSent(); n > 0 {
		notes = append(notes, size(n)+" sent")
	}
	if n := f.GetBytesReceived(); n > 0 {
		notes = append(notes, size(n)+" received")
	}
	if text := why(f.GetPeer().GetUnknown()); text != "" {
		notes = append(notes, text)
	}
	if len(notes) > 0 {
		b.WriteString(" (" + strings.Join(notes, ", ") + ")")
	}
	return b.String()
}

// why says why there is no name for a peer. That nobody answered is said by its numbers.
func why(u spoorv1.Endpoint_Unknown) string {
	switch u {
	case spoorv1.Endpoint_UNKNOWN_NOT_YET:
		return "who that is may be told yet"
	case spoorv1.Endpoint_UNKNOWN_NO_AGENT:
		return "no agent tells who that is"
	case spoorv1.Endpoint_UNKNOWN_OUTSIDE:
		return "outside"
	default:
		return ""
	}
}

// Peer names one end of a flow: the workload or DNS name where known, and always the address.
func Peer(e *spoorv1.Endpoint, node string) string {
	at := hostPort(e)
	switch {
	case e.GetWorkload().GetName() != "":
		return WorkloadName(e.GetWorkload(), node) + " at " + at
	case e.GetDnsName() != "":
		return Printable(e.GetDnsName()) + " at " + at
	default:
		return at
	}
}

func hostPort(e *spoorv1.Endpoint) string {
	address := Printable(e.GetAddress())
	if e.GetPort() == 0 {
		return address
	}
	return net.JoinHostPort(address, strconv.Itoa(int(e.GetPort())))
}

func dnsSentence(d *spoorv1.Dns) string {
	if len(d.GetAddresses()) == 0 {
		return "asked for " + Printable(d.GetName()) + ", which has no address"
	}
	return "resolved " + Printable(d.GetName()) + " to " + Printable(strings.Join(d.GetAddresses(), ", "))
}

func shareSentence(node string, s *spoorv1.Share) string {
	what := "something"
	switch s.GetKind() {
	case spoorv1.Share_KIND_FILE:
		what = "a file"
	case spoorv1.Share_KIND_MEMORY:
		what = "memory"
	case spoorv1.Share_KIND_SOCKET:
		what = "a socket"
	}
	if s.GetFile() != nil {
		what += " (" + pathOf(s.GetFile()) + ")"
	}
	if s.GetAccess() == spoorv1.Share_ACCESS_READ {
		return "reads " + what + ", which " + WorkloadName(s.GetOther(), node) + " wrote"
	}
	return "shares " + what + " with " + WorkloadName(s.GetOther(), node)
}

func transport(t spoorv1.Transport) string {
	if t == spoorv1.Transport_TRANSPORT_UNSPECIFIED {
		return "?"
	}
	return strings.ToLower(strings.TrimPrefix(t.String(), "TRANSPORT_"))
}

func storageClass(c spoorv1.StorageClass) string {
	if c == spoorv1.StorageClass_STORAGE_CLASS_UNSPECIFIED {
		return ""
	}
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(c.String(), "STORAGE_CLASS_"), "_", "-"))
}

func size(n uint64) string { return humanize.IBytes(n) }

func plural[N int | uint32 | uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if strings.HasSuffix(noun, "s") || strings.HasSuffix(noun, "ch") {
		noun += "e"
	}
	return grouped(n) + " " + noun + "s"
}

// grouped writes a number with a comma between thousands.
func grouped[N int | uint32 | uint64](n N) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// Duration is d in at most two units, as people say it: 340ms, 4s, 3m20s, 2h5m, 3d4h.
func Duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return strconv.Itoa(int(d.Round(time.Second)/time.Second)) + "s"
	case d < time.Hour:
		return twoUnits(d.Round(time.Second), time.Minute, "m", time.Second, "s")
	case d < 24*time.Hour:
		return twoUnits(d.Round(time.Minute), time.Hour, "h", time.Minute, "m")
	default:
		return twoUnits(d.Round(time.Hour), 24*time.Hour, "d", time.Hour, "h")
	}
}

func twoUnits(d, large time.Duration, l string, small time.Duration, s string) string {
	out := strconv.Itoa(int(d/large)) + l
	if n := int(d % large / small); n > 0 {
		out += strconv.Itoa(n) + s
	}
	return out
}
