// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent/sensor/pin"
	"github.com/spoor/spoor/bpf"
)

// ProcessCause says what a ProcessEvent is about. The numbers are those of enum in bpf/process.bpf.c.
type ProcessCause uint16

// The causes.
const (
	Fork ProcessCause = iota + 1
	Exec
	Exit
	Found
	CgroupMade
)

// ProcessEvent is what the kernel said of a process, or (CgroupMade) of a new cgroup.
type ProcessEvent struct {
	Cause ProcessCause
	// Nanoseconds since boot.
	Time uint64
	Who  Who
	// The image that forked this thread group.
	Parent Who
	// Status as wait(2) has it, of an Exit.
	Status       uint32
	CgroupID     uint64
	CapEffective uint64
	UID, GID     uint32
	// Inode numbers of the namespaces.
	PidNS, MntNS, NetNS uint32
	KernelThread        bool
	Comm                string
	// Of an Exec. Any bytes but NUL.
	Exe, Cwd      string
	Args          []string
	ArgsTruncated bool

	// Of CgroupMade: 0 is the v2 hierarchy.
	HierarchyID uint32
	CgroupPath  string
}

var processLosses = []lossReason{{name: "ring_full"}, {name: "ring_full_cgroup"}}

// Process observes forks, execs and exits.
type Process struct {
	objects bpf.ProcessObjects
	set     *pin.Set
	losses  *losses
	links   []link.Link
	reader  *ringbuf.Reader
	record  ringbuf.Record
}

// OpenProcess loads and attaches the sensor. ringBytes is the size of its ring, a power of two; 0 takes the default. What is
// kept in pins, which may be nil, is taken over, and stays for the next agent.
func OpenProcess(ringBytes uint32, pins *pin.Directory) (*Process, error) {
	spec, err := bpf.LoadProcess()
	if err != nil {
		return nil, fmt.Errorf("process sensor: %w", err)
	}
	if err := tellV1(spec); err != nil {
		return nil, fmt.Errorf("process sensor: %w", err)
	}
	if ringBytes != 0 {
		spec.Maps[bpf.ProcessMapProcessRing].MaxEntries = ringBytes
	}
	set, err := pins.NewSet("process", spec, map[string][]string{bpf.ProcessMapProcessRing: {"process_record", "cgroup_record"}})
	if err != nil {
		return nil, err
	}
	p := &Process{set: set}
	if err := load(set, spec, &p.objects); err != nil {
		return nil, errors.Join(explain("process", err), set.Close())
	}
	if p.losses, err = newLosses(set, p.objects.Losses, processLosses); err != nil {
		return nil, errors.Join(fmt.Errorf("process sensor: %w", err), p.Close())
	}
	if p.reader, err = ringbuf.NewReader(p.objects.ProcessRing); err != nil {
		return nil, errors.Join(fmt.Errorf("process sensor: %w", err), p.Close())
	}
	o := &p.objects
	if p.links, err = attach(set, o.ProcessFork, o.ProcessExec, o.ProcessExit, o.ProcessCgroupMkdir); err != nil {
		return nil, errors.Join(fmt.Errorf("process sensor: %w", err), p.Close())
	}
	return p, nil
}

// Inherited calls fn for each event in a ring of another size that an earlier agent left. Once, before the first Read.
func (p *Process) Inherited(fn func(*ProcessEvent)) error {
	err := inheritRecords(p.set, p.losses, bpf.ProcessMapProcessRing, func(b []byte) error {
		ev, err := decodeProcess(b)
		if err == nil {
			fn(&ev)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("process sensor: %w", err)
	}
	return nil
}

// Read calls fn for each event until deadline; it returns earlier only on an error. Events that are there already are read
// even when the deadline has passed. fn must not keep the event.
func (p *Process) Read(deadline time.Time, fn func(*ProcessEvent)) error {
	p.reader.SetDeadline(deadline)
	for {
		err := p.reader.ReadInto(&p.record)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return fmt.Errorf("read process events: %w", err)
		}
		ev, err := decodeProcess(p.record.RawSample)
		if err != nil {
			return err
		}
		fn(&ev)
	}
}

// Found calls fn for every process that runs now, without its texts (Exe, Cwd, Args).
func (p *Process) Found(fn func(*ProcessEvent)) error {
	return iterate(p.objects.ProcessFound, nil, func(r io.Reader) error {
		buf := make([]byte, binary.Size(bpf.ProcessProcessRecord{}))
		for {
			if _, err := io.ReadFull(r, buf); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			ev, err := decodeProcess(buf)
			if err != nil {
				return err
			}
			fn(&ev)
		}
	})
}

// Losses returns what was lost since the sensor was opened, or since the previous agent last looked.
func (p *Process) Losses() ([]Loss, error) {
	all, err := p.losses.since()
	if err != nil {
		return nil, err
	}
	return addPreempted(all, p.Programs()...)
}

// Programs returns what is loaded, for measuring.
func (p *Process) Programs() []*ebpf.Program {
	o := &p.objects
	return []*ebpf.Program{o.ProcessFork, o.ProcessExec, o.ProcessExit, o.ProcessCgroupMkdir}
}

// Close releases the sensor; what is not pinned is detached and unloaded.
func (p *Process) Close() error {
	errs := []error{closeLinks(p.links), p.losses.close(), p.set.Close()}
	if p.reader != nil {
		errs = append(errs, p.reader.Close())
	}
	return errors.Join(append(errs, p.objects.Close())...)
}

// decodeProcess decodes one record of process_ring. It trusts no length in it.
func decodeProcess(b []byte) (ProcessEvent, error) {
	var ev ProcessEvent
	if len(b) < 10 {
		return ev, fmt.Errorf("process record of %d bytes: too short", len(b))
	}
	if ProcessCause(binary.NativeEndian.Uint16(b[8:])) == CgroupMade {
		return decodeCgroup(b)
	}
	var r bpf.ProcessProcessRecord
	n, err := binary.Decode(b, binary.NativeEndian, &r)
	if err != nil {
		return ev, fmt.Errorf("process record of %d bytes: %w", len(b), err)
	}
	ev = ProcessEvent{
		Cause: ProcessCause(r.Type), Time: r.Time, Who: whoOfProcess(r.Who), Parent: whoOfProcess(r.Parent),
		Status: r.ExitCode, CgroupID: r.CgroupId, CapEffective: r.CapEffective, UID: r.Uid, GID: r.Gid,
		PidNS: r.PidNs, MntNS: r.MntNs, NetNS: r.NetNs, KernelThread: r.Flags&processKthread != 0, Comm: comm(r.Comm[:]),
	}
	if ev.Cause < Fork || ev.Cause > Found {
		return ev, fmt.Errorf("process record of unknown type %d", r.Type)
	}
	if ev.Cause != Exec {
		return ev, nil
	}
	text := b[n:]
	if len(text) < textHead {
		return ev, fmt.Errorf("exec record of %d bytes: no text", len(b))
	}
	text = text[textHead:]
	exe, cwd, args := int(r.ExeBytes), int(r.CwdBytes), int(r.ArgsBytes)
	if exe+cwd+args > len(text) || args < 0 {
		return ev, fmt.Errorf("exec record of %d bytes: texts of %d, %d and %d do not fit", len(b), exe, cwd, args)
	}
	ev.Exe = joinComponents(text[:exe])
	if r.Flags&processUnlinked != 0 {
		ev.Exe += " (deleted)" // as /proc/PID/exe has it
	}
	ev.Cwd = joinComponents(text[exe : exe+cwd])
	ev.Args = splitArgs(text[exe+cwd : exe+cwd+args])
	ev.ArgsTruncated = r.Flags&processArgsCut != 0
	return ev, nil
}

func decodeCgroup(b []byte) (ProcessEvent, error) {
	var r bpf.ProcessCgroupRecord
	n, err := binary.Decode(b, binary.NativeEndian, &r)
	if err != nil {
		return ProcessEvent{}, fmt.Errorf("cgroup record of %d bytes: %w", len(b), err)
	}
	if int(r.PathBytes) > len(b)-n {
		return ProcessEvent{}, fmt.Errorf("cgroup record of %d bytes: path of %d does not fit", len(b), r.PathBytes)
	}
	return ProcessEvent{
		Cause: CgroupMade, Time: r.Time, CgroupID: r.CgroupId, HierarchyID: r.HierarchyId,
		CgroupPath: unix.ByteSliceToString(b[n : n+int(r.PathBytes)]),
	}, nil
}

// Flags of process_record (bpf/process.bpf.c), and the two words that begin its text.
const (
	processArgsCut  = 1 << 2
	processKthread  = 1 << 3
	processUnlinked = 1 << 4
	textHead        = 8
)

// comm decodes the kernel's fixed-size name; any bytes but NUL.
func comm(b []int8) string {
	out := make([]byte, 0, len(b))
	for _, c := range b {
		if c == 0 {
			break
		}
		out = append(out, byte(c)) //nolint:gosec // the same eight bits
	}
	return string(out)
}
