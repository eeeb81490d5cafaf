// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"path"
	"strings"
	"unicode"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// What verdicts say. A title is one sentence that a person understands when it wakes them; the why and the fix
// are made from the facts, with the line to write into the contract.

// describe names a workload at the beginning of a sentence: Deployment shop/checkout.
func (w *workload) describe() string {
	id := w.id
	return printable(fmt.Sprintf("%s %s/%s", id.GetKind(), id.GetNamespace(), id.GetName()))
}

// facts counts what agents lost.
func facts(n uint64) string {
	if n == 1 {
		return "1 fact"
	}
	return fmt.Sprintf("%d facts", n)
}

// contractIn says which contract, and where its file is when that is known.
func (w *workload) contractIn() string {
	c := w.policy.contract
	if c.file == "" {
		return "contract " + c.FullName()
	}
	return fmt.Sprintf("contract %s (%s:%d)", c.FullName(), c.file, c.line)
}

// printable makes names that come from processes safe to print: no control characters, no bytes that are not text,
// bounded length.
func printable(s string) string {
	clean := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return '?'
	}, s)
	return cut(clean, 600)
}

// clip shortens what somebody wrote to what shows which part of a file is meant.
func clip(s string) string { return cut(s, 60) }

// cut shortens a text to so many bytes, at the end of a character, and marks that.
func cut(s string, most int) string {
	const mark = "..."
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-len(mark)], "") + mark
}

// by names the process of an event, " by curl (/usr/bin/curl)" or "".
func by(ev *spoorv1.Event) string {
	p := ev.GetProcess()
	name, exe := p.GetComm(), p.GetExe()
	switch {
	case name == "" && exe == "":
		return ""
	case name == "":
		name = path.Base(exe)
	}
	if exe == "" || exe == name {
		return " by " + printable(name)
	}
	return fmt.Sprintf(" by %s (%s)", printable(name), printable(exe))
}

func keptWhere(c spoorv1.StorageClass) string {
	switch c {
	case spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER:
		return "the container's writable layer"
	case spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME:
		return "an ephemeral volume"
	case spoorv1.StorageClass_STORAGE_CLASS_HOST_PATH:
		return "a directory of the node"
	case spoorv1.StorageClass_STORAGE_CLASS_HOST:
		return "the node's own disk"
	case spoorv1.StorageClass_STORAGE_CLASS_TMPFS:
		return "memory (tmpfs)"
	case spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME:
		return "a persistent volume"
	default:
		return "its file system"
	}
}

func whatBecomes(c spoorv1.StorageClass, node string) string {
	switch c {
	case spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER:
		return "The file is lost when the container is replaced, and no other replica has it"
	case spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME:
		return "The file is lost when the pod is replaced, and no other replica has it"
	case spoorv1.StorageClass_STORAGE_CLASS_TMPFS:
		return "The file takes memory, is lost when the node restarts, and is on no other node"
	default:
		if node == "" {
			node = "this node"
		}
		return "The file stays behind on " + printable(node) + " when the service moves, and a later instance there finds what is stale"
	}
}

// verdict tells of a file that is kept where or longer than the contract allows.
func (f *file) verdict(name, subject string) Verdict {
	w := f.instance.workload
	becomes := whatBecomes(f.storage, f.id.node)
	written := fmt.Sprintf(" It was written%s and holds %s.", by(f.wrote), amount(f.size))
	var v Verdict
	if f.scratch >= 0 {
		v = f.ageVerdict(name, subject, becomes, written)
	} else {
		v = f.placeVerdict(name, subject, becomes, written)
	}
	if subject == others {
		v.Title = fmt.Sprintf("%s keeps files in many more places outside its scratch and volumes, last %s", w.describe(), Generalise(name))
	}
	return v
}

const breaks = ": a stateless service that relies on it breaks when it is moved, scaled or restarted."

// placeVerdict tells of a file outside of scratch and volumes, by what it seems to be.
func (f *file) placeVerdict(name, subject, becomes, written string) Verdict {
	w := f.instance.workload
	v := Verdict{Severity: spoorv1.Severity_SEVERITY_MEDIUM}
	where := keptWhere(f.storage)
	outside := fmt.Sprintf(" %s in %s, outside its scratch and volumes", subject, where)
	switch ruleOf(f.kind.class) {
	case RuleStateDatabase:
		v.Severity = spoorv1.Severity_SEVERITY_HIGH
		v.Title = w.describe() + " keeps a database," + outside
		v.Why = becomes + ". A database in a stateless service is a single point of truth that nobody backs up, and that each replica has for itself." + written
	case RuleStateSession:
		v.Title = fmt.Sprintf("%s keeps %ss as files,%s", w.describe(), f.kind.class, outside)
		v.Why = becomes + ": users are tied to one instance, and lose what they did when it goes." + written
	case RuleStateLog:
		v.Severity = spoorv1.Severity_SEVERITY_LOW
		v.Title = w.describe() + " writes a log to" + outside
		v.Why = becomes + ". Nobody collects a log from there, and it grows until the disk is full." + written
	default:
		v.Title = w.describe() + " keeps" + outside
		v.Why = becomes + breaks + written
		if f.kind.class == ClassCache {
			v.Severity = spoorv1.Severity_SEVERITY_LOW
			v.Why = becomes + ". A cache may be lost, and costs time and disk until then; whether an old one is ever wrong, nobody has said." + written
		}
	}
	if reasons := f.kind.reasons; reasons != nil {
		v.Why += fmt.Sprintf(" It is taken for a %s because %s.", f.kind.class, list(reasons, "and"))
	}
	pattern := Generalise(name)
	dir := PathPattern(path.Dir(string(pattern)))
	if dir == "/" || checkPath(string(dir)) != nil || strings.HasPrefix(string(dir), "/**") {
		dir = pattern
	}
	advice := f.kind.advice
	if advice == "" {
		advice = "Keep it in a backing service."
	}
	v.Fix = fmt.Sprintf("%s If nobody misses it, add it to spec.scratch of %s: %s. If it may stay, mount a volume there and add it to spec.volumes: %s",
		advice, w.contractIn(), Line(Scratch{Path: pattern, MaxAge: DefaultMaxAge}), Line(Volume{Path: dir, Class: f.kind.class}))
	return v
}

// ageVerdict tells of a scratch file that is too old.
func (f *file) ageVerdict(name, subject, becomes, written string) Verdict {
	w := f.instance.workload
	entry := w.policy.contract.Spec.Scratch[f.scratch]
	age := Duration(w.policy.maxAge(f.scratch, w.state()))
	entry.MaxAge = 6 * age
	fix := fmt.Sprintf("Remove the file when the work is done, or keep it in a backing service. If it may live longer, raise the limit under spec.scratch of %s: %s", w.contractIn(), Line(entry))
	if f.presumed {
		return Verdict{
			Severity: spoorv1.Severity_SEVERITY_LOW,
			Title:    fmt.Sprintf("%s was not seen to remove scratch file %s within %s", w.describe(), Generalise(name), age),
			Why:      fmt.Sprintf("%s reports no removals of files, so it may be gone, or may be state that is kept.%s", printable(orThis(f.id.node)), written),
			Fix:      "Let the agent there see changes of names: spoor selftest says what it needs. " + fix,
		}
	}
	return Verdict{
		Severity: spoorv1.Severity_SEVERITY_MEDIUM,
		Title:    fmt.Sprintf("%s keeps scratch file %s for longer than %s", w.describe(), subject, age),
		Why:      becomes + ". What lives longer than one unit of work is no scratch" + breaks + written,
		Fix:      fix,
	}
}

// sizeVerdict tells that an instance keeps more below a scratch path than the contract allows.
func (w *workload) sizeVerdict(entry Scratch, used uint64, storage spoorv1.StorageClass) Verdict {
	limit := entry.MaxBytes
	entry.MaxBytes = roundUp(used)
	return Verdict{
		Severity: spoorv1.Severity_SEVERITY_MEDIUM,
		Title:    fmt.Sprintf("%s keeps %s below scratch path %s, more than %s", w.describe(), amount(used), entry.Path, limit),
		Why: fmt.Sprintf("Scratch that grows fills %s: then writes fail, or the instance is evicted, at a moment nobody chose.",
			keptWhere(storage)),
		Fix: fmt.Sprintf("Remove files when the work is done, and bound what one unit of work writes. If it needs more, raise the limit under spec.scratch of %s: %s",
			w.contractIn(), Line(entry)),
	}
}

// roundUp rounds to three digits or so in the unit that a person would use.
func roundUp(n uint64) Bytes {
	unit := uint64(1)
	for n/unit >= 4096 {
		unit <<= 10
	}
	return Bytes((n + unit - 1) / unit * unit)
}

// amount writes a number of bytes in a sentence.
func amount(n uint64) string {
	if n < 4096 {
		return fmt.Sprintf("%d bytes", n)
	}
	return roundUp(n).String() + "B"
}

// egressVerdict tells of a call that the contract does not have.
func (w *workload) egressVerdict(p *peer, ev *spoorv1.Event, nameless, many bool) Verdict {
	f := ev.GetFlow()
	port, transport := servicePort(f), transportOf(f.GetTransport())
	target := fmt.Sprintf("%s:%d/%s", p, port, transport)
	v := Verdict{Severity: spoorv1.Severity_SEVERITY_MEDIUM}
	verb := "calls"
	if f.GetOpened() == 0 && f.GetRefused()+f.GetTimedOut() > 0 {
		verb = "tries to call"
	}
	v.Title = fmt.Sprintf("%s %s %s, which its contract does not have", w.describe(), verb, target)
	v.Why = "Nobody agreed to this dependency: when the peer fails or changes, this service breaks without warning, and data may go where it must not."
	if Public(p.addr) && p.workload == nil {
		v.Severity = spoorv1.Severity_SEVERITY_HIGH
		v.Why = "Nobody agreed to this call, and its peer is on the Internet: it may be data that leaves, or a dependency that nobody watches."
	}
	v.Why += " The call was made" + by(ev) + peerFacts(p, f) + "."
	if many {
		v.Title = fmt.Sprintf("%s %s many more peers that its contract does not have, last %s", w.describe(), verb, target)
	}
	entry := Call{Transport: transport, Port: portOrNone(port)}
	switch {
	case p.workload != nil:
		entry.Workload = refTo(p.workload, w.id)
	case len(p.names) > 0 && new(DNSName).UnmarshalText([]byte(p.names[0])) == nil:
		entry.DNS = DNSName(p.names[0])
	default:
		entry.CIDR = hostCIDR(p.addr)
	}
	fix := "Find out why " + w.describe() + " makes this call, and stop it if nobody needs it."
	if (entry.Workload != Ref{}) || entry.DNS != "" || !entry.CIDR.IsZero() {
		fix += fmt.Sprintf(" If it is meant, add it to spec.calls of %s: %s", w.contractIn(), Line(entry))
	}
	if nameless {
		v.Severity = spoorv1.Severity_SEVERITY_LOW
		v.Title = fmt.Sprintf("%s %s %s, and it is not known by which name", w.describe(), verb, target)
		v.Why = "The contract allows calls by name on this port, and " + printable(orThis(ev.GetNode())) +
			" reports no DNS answers: this may be one of them, or a call that nobody agreed to. The call was made" + by(ev) + "."
		fix = "Turn on the DNS sensor of the node, so that calls are known by name. " + fix
	}
	v.Fix = fix
	return v
}

func orThis(node string) string {
	if node == "" {
		return "this node"
	}
	return node
}

// peerFacts adds what is known about the peer beyond the name that the title gives it.
func peerFacts(p *peer, f *spoorv1.Flow) string {
	var facts []string
	if (p.workload != nil || len(p.names) > 0) && p.addr.IsValid() {
		facts = append(facts, "its address is "+p.addr.String())
	}
	if n := f.GetRefused(); n > 0 {
		facts = append(facts, fmt.Sprintf("%d attempts were refused", n))
	}
	if n := f.GetTimedOut(); n > 0 {
		facts = append(facts, fmt.Sprintf("%d attempts had no answer", n))
	}
	if sent, received := f.GetBytesSent(), f.GetBytesReceived(); sent+received > 0 {
		facts = append(facts, fmt.Sprintf("%s were sent and %s received", amount(sent), amount(received)))
	}
	if len(facts) == 0 {
		return ""
	}
	return "; " + list(facts, "and")
}

// callerVerdict tells of a caller that the contract does not have.
func (w *workload) callerVerdict(p *peer, ev *spoorv1.Event, many bool) Verdict {
	f := ev.GetFlow()
	port, transport := servicePort(f), transportOf(f.GetTransport())
	v := Verdict{Severity: spoorv1.Severity_SEVERITY_MEDIUM}
	v.Title = fmt.Sprintf("%s is called by %s on %d/%s, which its contract does not have", w.describe(), callerName(p), port, transport)
	v.Why = "Nobody agreed that this caller may: what the service assumes about who calls it, and how often, no longer holds."
	if Public(p.addr) && p.workload == nil {
		v.Severity = spoorv1.Severity_SEVERITY_HIGH
		v.Why = "Nobody agreed that the Internet may call this service: whoever finds the port can try what they like."
	}
	if p.workload == nil && p.addr.IsValid() {
		v.Why += " The last call came from " + p.addr.String() + "."
	}
	if many {
		v.Title = fmt.Sprintf("%s is called by many more that its contract does not have, last %s on %d/%s", w.describe(), callerName(p), port, transport)
	}
	entry := Caller{Transport: transport, Port: portOrNone(port)}
	if p.workload != nil {
		entry.Workload = refTo(p.workload, w.id)
	} else {
		entry.CIDR = hostCIDR(p.addr)
	}
	v.Fix = "Find out who it is, and close the way if it is not wanted."
	if (entry.Workload != Ref{}) || !entry.CIDR.IsZero() {
		v.Fix += fmt.Sprintf(" If it is meant, add it to spec.callers of %s: %s", w.contractIn(), Line(entry))
	}
	return v
}

// listenVerdict tells of a listener that the contract does not have.
func (w *workload) listenVerdict(l *spoorv1.Listen, transport Transport, ev *spoorv1.Event, many bool) Verdict {
	port := l.GetLocal().GetPort()
	addr := parseAddr(l.GetLocal().GetAddress())
	v := Verdict{Severity: spoorv1.Severity_SEVERITY_MEDIUM}
	reach := "everybody who reaches the node or pod"
	if addr.IsLoopback() {
		v.Severity = spoorv1.Severity_SEVERITY_LOW
		reach = "everything on the same host or in the same pod"
	}
	v.Title = fmt.Sprintf("%s listens on %d/%s, which its contract does not have", w.describe(), port, transport)
	if many {
		v.Title = fmt.Sprintf("%s listens on many more ports that its contract does not have, last %d/%s", w.describe(), port, transport)
	}
	v.Why = "A port that nobody agreed to is one that nobody guards: it is open to " + reach + ". It was opened" + by(ev) + "."
	if addr.IsValid() {
		v.Why = strings.TrimSuffix(v.Why, ".") + " at " + addr.String() + "."
	}
	entry := Listen{Port: portOrNone(port), Transport: transport}
	v.Fix = "Turn the listener off in the program's configuration if nobody needs it."
	if anyPort.contains(port) {
		v.Fix += " The kernel chose the port, so it differs from start to start: set a fixed one."
		entry.Port = anyPort
	}
	if (entry.Port != Ports{}) {
		v.Fix += fmt.Sprintf(" If it is meant, add it to spec.listens of %s: %s", w.contractIn(), Line(entry))
	}
	return v
}

// refTo writes a reference to a workload as short as the contract of self can read it.
func refTo(w, self *spoorv1.Workload) Ref {
	r := Ref{Kind: NamePattern(w.GetKind()), Name: NamePattern(w.GetName()), Namespace: NamePattern(w.GetNamespace())}
	switch {
	case w.GetCluster() != self.GetCluster():
		r.Cluster = NamePattern(w.GetCluster())
	case onPlainHost(self) && w.GetNamespace() == self.GetNamespace():
		// The same node: what holds there holds for the same unit on every other.
		r.Namespace = ""
	}
	if new(Ref).UnmarshalText([]byte(r.String())) != nil {
		return Ref{} // no name that a contract can hold
	}
	return r
}

func portOrNone(port uint32) Ports {
	if port == 0 || port > 65535 {
		return Ports{}
	}
	return Port(uint16(port))
}
