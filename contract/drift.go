// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// programKey is a file as an instance names it: what is executed has no inode in an event.
type programKey struct {
	instance instanceKey
	path     string
}

// deed is an event and when it happened.
type deed struct {
	event *spoorv1.Event
	at    time.Time
}

// interpreters execute the file that is their first argument.
var interpreters = []string{"sh", "bash", "dash", "ash", "busybox", "perl", "ruby", "node", "nodejs", "php", "lua", "tclsh"}

// programsOf lists the files that a process executes: its program, and the script that the program is told to run.
func programsOf(p *spoorv1.Process) []string {
	var files []string
	if strings.HasPrefix(p.GetExe(), "/") {
		files = append(files, strings.TrimSuffix(p.GetExe(), " (deleted)"))
	}
	if args := p.GetArgs(); len(args) > 1 && strings.HasPrefix(args[1], "/") {
		interpreter := strings.TrimRight(path.Base(p.GetExe()), "0123456789.")
		// The kernel names a script's process after the script.
		if interpreter == "python" || slices.Contains(interpreters, interpreter) || p.GetComm() != "" && strings.HasPrefix(path.Base(args[1]), p.GetComm()) {
			files = append(files, path.Clean(args[1]))
		}
	}
	return files
}

// drift looks at what an instance writes and what it executes: exec.drift. Either may be told first.
func (j *Judge) drift(in *instance, ev *spoorv1.Event, t time.Time) {
	if !isService(in.workload.id) {
		return
	}
	switch fact := ev.GetFact().(type) {
	case *spoorv1.Event_ProcessStart:
		if fact.ProcessStart.GetCause() != spoorv1.ProcessStart_CAUSE_EXEC {
			return
		}
		for _, file := range programsOf(ev.GetProcess()) {
			key := programKey{in.key, file}
			run := deed{ev, t}
			j.executed.put(key, run)
			if wrote, ok := j.written.get(key); ok {
				j.drifted(in, file, wrote, run)
			}
		}
	case *spoorv1.Event_FileWrite:
		w := fact.FileWrite
		src := w.GetFile()
		if !w.GetData() && w.GetSizeBefore() == w.GetSizeAfter() || src.GetPathTruncated() || slices.Contains(pseudo, src.GetFsType()) {
			return
		}
		j.wrote(in, pathOf(src), deed{ev, timeOr(w.GetFirst(), t)})
	case *spoorv1.Event_FileChange:
		c := fact.FileChange
		from, to := pathOf(c.GetFile()), pathOfTarget(c)
		wrote, ok := j.written.get(programKey{in.key, from})
		if !ok {
			return
		}
		switch c.GetOperation() {
		case spoorv1.FileChange_OPERATION_RENAME:
			j.written.remove(programKey{in.key, from})
			j.wrote(in, to, wrote)
		case spoorv1.FileChange_OPERATION_LINK:
			j.wrote(in, to, wrote)
		case spoorv1.FileChange_OPERATION_UNLINK:
			j.written.remove(programKey{in.key, from})
		}
	}
}

// wrote remembers the first writing of a file, and asks whether it was executed since.
func (j *Judge) wrote(in *instance, file string, wrote deed) {
	if !strings.HasPrefix(file, "/") {
		return
	}
	key := programKey{in.key, file}
	if before, ok := j.written.get(key); ok && !wrote.at.Before(before.at) {
		return
	}
	j.written.put(key, wrote)
	if run, ok := j.executed.get(key); ok {
		j.drifted(in, file, wrote, run)
	}
}

// drifted says that an instance executed what it had written, unless the contract has programs there.
func (j *Judge) drifted(in *instance, file string, wrote, run deed) {
	w := in.workload
	if run.at.Before(wrote.at) || w.policy.hasPrograms(file) {
		return
	}
	m := j.matter(w, RuleExecDrift, j.fileSubject(w, RuleExecDrift, file))
	// What was executed was executed: somebody has to look at it.
	m.endless, m.path = true, file
	if j.raise(m, run.at, run.event) {
		v := w.driftVerdict(m.key.subject, file, wrote.event, run.event)
		v.Time, v.Evidence = run.at, []*spoorv1.Event{wrote.event, run.event}
		j.tell(m, v)
	}
}

// hasPrograms says whether the contract expects programs to be written at a path.
func (p *policy) hasPrograms(file string) bool {
	for i := range p.volumes {
		if p.contract.Spec.Volumes[i].Class == ClassBinary && p.volumes[i].matches(file) {
			return true
		}
	}
	return false
}

func (w *workload) driftVerdict(subject, file string, wrote, run *spoorv1.Event) Verdict {
	v := Verdict{
		Severity: spoorv1.Severity_SEVERITY_HIGH,
		Title:    fmt.Sprintf("%s executes %s, which was written after it started", w.describe(), subject),
		Why: fmt.Sprintf("What runs is not what was built, reviewed and scanned: it is how a break-in goes on, and a service that repairs or updates itself cannot be rolled back. It was written%s and executed%s.",
			by(wrote), by(run)),
	}
	if subject == others {
		v.Title = fmt.Sprintf("%s executes many more files that were written after it started, last %s", w.describe(), Generalise(file))
	}
	dir := PathPattern(path.Dir(string(Generalise(file))))
	if dir == "/" || checkPath(string(dir)) != nil || strings.HasPrefix(string(dir), "/**") {
		dir = Generalise(file)
	}
	v.Fix = fmt.Sprintf("Look at who wrote it: spoor tree shows the parents of the process. If it belongs to the service, build it into the image and make the root file system read-only. If programs are meant to be written there, add it to spec.volumes of %s: %s",
		w.contractIn(), Line(Volume{Path: dir, Class: ClassBinary}))
	return v
}
