// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Learned is a contract that was made of what a workload did, for people to review.
type Learned struct {
	Contract *Contract
	// What each line rests on, and what was left for a person to decide.
	Comments Comments
	// Why the workload was not watched for long enough, one sentence each; empty when it was.
	Missing []string
	// How many things were left for a person to decide.
	Undecided int
}

// YAML writes the contract with its comments.
func (l *Learned) YAML() ([]byte, error) { return MarshalCommented(l.Contract, l.Comments) }

// Contract makes a contract of what is known of a workload, nil when nothing is. The result depends only on what was
// seen, not on the order.
func (l *Learner) Contract(w *spoorv1.Workload) *Learned {
	c := &Contract{APIVersion: APIVersion, Kind: Kind, Metadata: Metadata{Name: objectNameFrom(w.GetName())}}
	if !onPlainHost(w) {
		c.Metadata.Namespace = w.GetNamespace()
	}
	c.Spec = Spec{
		Workload: Selector{Kind: NamePattern(w.GetKind()), Name: NamePattern(w.GetName())},
		Listens:  []Listen{}, Callers: []Caller{}, Calls: []Call{},
	}
	return l.learn(w, c, true)
}

// Extend adds to a contract what its workload was seen to do and the contract does not allow, and remarks which lines
// nothing was seen of. What the contract has stays as it is; what it does not judge it goes on not to judge.
func (l *Learner) Extend(c *Contract, w *spoorv1.Workload) *Learned {
	again := *c
	again.Spec.Scratch, again.Spec.Volumes = slices.Clone(c.Spec.Scratch), slices.Clone(c.Spec.Volumes)
	again.Spec.Listens, again.Spec.Callers, again.Spec.Calls = slices.Clone(c.Spec.Listens), slices.Clone(c.Spec.Callers), slices.Clone(c.Spec.Calls)
	again.Spec.Shares = slices.Clone(c.Spec.Shares)
	return l.learn(w, &again, false)
}

func (l *Learner) learn(w *spoorv1.Workload, c *Contract, fresh bool) *Learned {
	s := l.workloads[nameOf(w)]
	if s == nil || s.first.IsZero() {
		return nil
	}
	d := &draft{
		Learned: &Learned{Contract: c, Comments: Comments{}, Missing: s.missing(l)},
		lesson:  s, agreed: compile(c), fresh: fresh,
	}
	if fresh {
		d.Comments["spec.workload"] = Comment{Below: []string{"owner: {team: ..., oncall: ...}   (who answers for it and who is paged)"}}
	}
	d.files(l)
	d.ports()
	d.callers()
	d.calls()
	d.shares()
	d.top()
	return d.Learned
}

// draft is a contract in the making.
type draft struct {
	*Learned
	lesson *lesson
	// The contract as it was before.
	agreed *policy
	// There was none before.
	fresh bool
}

// beside puts a remark at the end of an entry's line.
func (d *draft) beside(list string, i int, remark string) {
	d.Comments[fmt.Sprintf("%s[%d]", list, i)] = Comment{Beside: remark}
}

// unseen remarks an entry of the contract that nothing was seen of.
func (d *draft) unseen(list string, i int, seen bool) {
	if !seen {
		d.beside(list, i, "not seen since "+d.lesson.first.UTC().Format(time.DateOnly))
	}
}

func (d *draft) top() {
	s, format := d.lesson, "2006-01-02 15:04 MST"
	lines := []string{fmt.Sprintf("Learned from %s to %s: %s on %s.",
		s.first.UTC().Format(format), s.last.UTC().Format(format), count(len(s.instances), "instance"), count(len(s.nodes), "node"))}
	for _, why := range d.Missing {
		lines = append(lines, "Not enough was seen: "+why+".")
	}
	if d.Undecided > 0 {
		lines = append(lines, "Some lines are remarks, for you to decide about: what they would allow is a finding as long as they are.")
	}
	d.Comments[""] = Comment{Above: lines}
}

// room says whether a list may have one more entry.
func (d *draft) room(list string, n int) bool {
	if n < maxEntries {
		return true
	}
	if why := fmt.Sprintf("%s would have more than %d lines", list, maxEntries); !slices.Contains(d.Missing, why) {
		d.Missing = append(d.Missing, why)
	}
	return false
}

// undecided puts remarks below a list, or where it would be.
func (d *draft) undecided(list string, exists bool, lines []string) {
	if len(lines) == 0 {
		return
	}
	at := list
	if !exists {
		at = "spec.workload"
		lines = append([]string{strings.TrimPrefix(list, "spec.") + ":"}, lines...)
	}
	c := d.Comments[at]
	c.Below = append(c.Below, lines...)
	d.Comments[at] = c
}

// covers says whether the contract had a place for every family of files.
func (d *draft) covers(p *filePlace) bool {
	return !slices.ContainsFunc(p.examples, func(name string) bool {
		place, _ := d.agreed.place(name, false)
		return place == outside
	})
}

// files fills state, scratch and volumes.
func (d *draft) files(l *Learner) {
	spec := &d.Contract.Spec
	scratch, volumes, local := d.lesson.sortFiles(l)
	all := slices.Concat(scratch, volumes, local)
	for i := range spec.Scratch {
		d.unseen("spec.scratch", i, seesAny(&d.agreed.scratch[i], all))
	}
	for i := range spec.Volumes {
		d.unseen("spec.volumes", i, seesAny(&d.agreed.volumes[i], all))
	}
	state := d.agreed.state(d.lesson.id.GetKind())
	if d.fresh {
		if state == "" {
			state = Stateless
			if len(local) > 0 {
				state = Stateful
			}
		}
		spec.State = state
	}
	var undecided []string
	decide := func(why, line string) {
		undecided = append(undecided, why, line)
		d.Undecided++
	}
	for _, p := range scratch {
		entry := p.scratchLine()
		clash := slices.ContainsFunc(spec.Scratch, func(s Scratch) bool { return s.Path.Overlaps(entry.Path) })
		switch {
		case d.covers(p):
		case clash:
			decide("overlaps with the scratch above; widen one of them, or narrow this:", Line(entry))
		case d.room("spec.scratch", len(spec.Scratch)):
			d.beside("spec.scratch", len(spec.Scratch), p.seen())
			spec.Scratch = append(spec.Scratch, entry)
		}
	}
	d.undecided("spec.scratch", spec.Scratch != nil, undecided)
	undecided = nil
	if state == Stateless {
		for _, p := range local {
			if !d.covers(p) {
				decide(fmt.Sprintf("%s in %s by %s, and stateless workloads keep none. If they may stay:",
					kept(p.files), keptWhere(p.storage), orProcess(p.by)), Line(Volume{Path: p.pattern, Class: p.class}))
			}
		}
	} else {
		volumes = byDirectory(slices.Concat(volumes, local))
	}
	for _, p := range volumes {
		if !d.covers(p) && d.room("spec.volumes", len(spec.Volumes)) {
			d.beside("spec.volumes", len(spec.Volumes), p.seen())
			spec.Volumes = append(spec.Volumes, Volume{Path: p.pattern, Class: p.class})
		}
	}
	d.undecided("spec.volumes", spec.Volumes != nil, undecided)
}

func seesAny(m *pathMatcher, places []*filePlace) bool {
	return slices.ContainsFunc(places, func(p *filePlace) bool { return slices.ContainsFunc(p.examples, m.matches) })
}

func kept(files int) string {
	if files == 1 {
		return "1 file is kept"
	}
	return fmt.Sprintf("%d files are kept", files)
}

func orProcess(by string) string {
	if by == "" {
		return "an unknown process"
	}
	return by
}

// ports fills listens.
func (d *draft) ports() {
	spec := &d.Contract.Spec
	if spec.Listens == nil {
		return
	}
	for i, entry := range spec.Listens {
		one := Spec{Listens: []Listen{entry}}
		seen := false
		for key := range d.lesson.ports {
			seen = seen || one.allowsListen(key.port, key.transport)
		}
		d.unseen("spec.listens", i, seen)
	}
	for _, l := range d.lesson.portLines() {
		allowed := !slices.ContainsFunc(l.keys, func(k portFactKey) bool { return !d.agreed.contract.Spec.allowsListen(k.port, k.transport) })
		clash := slices.ContainsFunc(spec.Listens, func(m Listen) bool {
			return m.Port.overlaps(l.entry.Port) && m.Transport.orTCP() == l.entry.Transport.orTCP()
		})
		if !allowed && !clash && d.room("spec.listens", len(spec.Listens)) {
			d.beside("spec.listens", len(spec.Listens), l.seen())
			spec.Listens = append(spec.Listens, l.entry)
		}
	}
}

// callers fills callers.
func (d *draft) callers() {
	spec := &d.Contract.Spec
	if spec.Callers == nil {
		return
	}
	self, facts := d.lesson.id, settled(d.lesson.callers)
	for i, entry := range spec.Callers {
		one := Spec{Callers: []Caller{entry}}
		d.unseen("spec.callers", i, slices.ContainsFunc(facts, func(f *peerFact) bool {
			return one.allowsCaller(self, f.peer(), f.key.port, f.key.transport, answer{}).allowed
		}))
	}
	agreed := &d.agreed.contract.Spec
	facts = slices.DeleteFunc(facts, func(f *peerFact) bool {
		return agreed.allowsCaller(self, f.peer(), f.key.port, f.key.transport, answer{}).allowed
	})
	lines, nameless := d.lesson.peerLines(facts, true)
	var undecided []string
	for _, l := range lines {
		switch entry := l.caller(); {
		case slices.Contains(spec.Callers, entry):
		case l.once():
			undecided = append(undecided, "called once, "+when(l.facts[0])+":", Line(entry))
			d.Undecided++
		case d.room("spec.callers", len(spec.Callers)):
			d.beside("spec.callers", len(spec.Callers), l.seen())
			spec.Callers = append(spec.Callers, entry)
		}
	}
	d.undecided("spec.callers", true, append(undecided, d.unnameable(nameless)...))
}

// calls fills calls.
func (d *draft) calls() {
	spec := &d.Contract.Spec
	if spec.Calls == nil {
		return
	}
	self, facts := d.lesson.id, settled(d.lesson.calls)
	for i, entry := range spec.Calls {
		one := Spec{Calls: []Call{entry}}
		d.unseen("spec.calls", i, slices.ContainsFunc(facts, func(f *peerFact) bool {
			return one.allowsCall(self, f.peer(), f.key.port, f.key.transport, answer{}).allowed
		}))
	}
	agreed := &d.agreed.contract.Spec
	facts = slices.DeleteFunc(facts, func(f *peerFact) bool {
		return agreed.allowsCall(self, f.peer(), f.key.port, f.key.transport, answer{}).allowed
	})
	// Who resolves names is plumbing as soon as the contract needs names.
	if agreed.needsNames() || slices.ContainsFunc(facts, func(f *peerFact) bool { return f.workload != nil || f.key.name != "" }) {
		facts = slices.DeleteFunc(facts, func(f *peerFact) bool { return resolves(f.peer(), f.key.port, f.key.transport) })
	}
	lines, nameless := d.lesson.peerLines(facts, false)
	var undecided []string
	decide := func(why, line string) {
		undecided = append(undecided, why+":", line)
		d.Undecided++
	}
	for _, l := range lines {
		by := orProcess(l.facts[0].by)
		switch entry := l.call(); {
		case slices.Contains(spec.Calls, entry):
		case !l.answered():
			decide(fmt.Sprintf("tried by %s and never answered, %s", by, when(l.facts[0])), Line(entry))
		case l.once():
			decide(fmt.Sprintf("called once by %s, %s", by, when(l.facts[0])), Line(entry))
		case !l.cidr.IsZero() && Public(l.cidr.Addr()):
			decide(fmt.Sprintf("on the Internet and without a name; %s by %s", l.seen(), by), Line(entry))
		case d.room("spec.calls", len(spec.Calls)):
			d.beside("spec.calls", len(spec.Calls), l.seen())
			spec.Calls = append(spec.Calls, entry)
		}
	}
	d.undecided("spec.calls", true, append(undecided, d.unnameable(nameless)...))
}

// unnameable tells of peers that no line can name.
func (d *draft) unnameable(facts []*peerFact) []string {
	var lines []string
	for _, f := range facts {
		lines = append(lines, fmt.Sprintf("port %d/%s of a peer that a contract cannot name, %s", f.key.port, f.key.transport, when(f)))
	}
	d.Undecided += len(facts)
	return lines
}

func when(f *peerFact) string { return f.first.UTC().Format(time.DateTime) + " UTC" }

// portLine is a line that is proposed for listens.
type portLine struct {
	entry Listen
	keys  []portFactKey
	facts []*fact
}

// portLines makes lines of listeners, in the order of ports. Several ports that the kernel chose are one line.
func (s *lesson) portLines() []*portLine {
	chosen := map[Transport]int{}
	for key := range s.ports {
		if anyPort.contains(key.port) {
			chosen[key.transport]++
		}
	}
	lines := map[Listen]*portLine{}
	var sorted []*portLine
	for key, f := range s.ports {
		entry := Listen{Port: portOrNone(key.port), Transport: written(key.transport)}
		if anyPort.contains(key.port) && chosen[key.transport] > 1 {
			entry.Port = anyPort
		}
		if (entry.Port == Ports{}) {
			continue
		}
		l := lines[entry]
		if l == nil {
			l = &portLine{entry: entry}
			lines[entry] = l
			sorted = append(sorted, l)
		}
		l.keys, l.facts = append(l.keys, key), append(l.facts, f)
	}
	slices.SortFunc(sorted, func(a, b *portLine) int {
		return cmp.Or(cmp.Compare(a.entry.Port.First, b.entry.Port.First), cmp.Compare(a.entry.Transport, b.entry.Transport))
	})
	return sorted
}

// seen says what a line rests on.
func (l *portLine) seen() string {
	if len(l.facts) > 1 {
		return fmt.Sprintf("%d ports that the kernel chose", len(l.facts))
	}
	return fmt.Sprintf("%s, %s", count(len(l.facts[0].instances), "instance"), orProcess(l.facts[0].by))
}
