// SPDX-License-Identifier: Apache-2.0

// Package sensor loads the kernel side, attaches it, and decodes what it says into Go values.
//
// It alone imports package bpf. It knows kernel identities (tgid, inode, cgroup id) and nothing of workloads, storage
// classes or the wire.
package sensor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/spoor/spoor/agent/sensor/pin"
	"github.com/spoor/spoor/bpf"
)

// Who identifies one program run by one thread group, across restarts of the agent.
type Who struct {
	// Nanoseconds since boot at which the thread group leader was created (task_struct.start_boottime).
	StartBoottime uint64
	// Thread group id in the initial pid namespace.
	Tgid uint32
	// Low half of task_struct.self_exec_id.
	ExecCount uint32
}

// The three objects each have their own copy of the type; they are the same struct of the same header.
func whoOfProcess(w bpf.ProcessWho) Who {
	return Who{StartBoottime: w.StartBoottime, Tgid: w.Tgid, ExecCount: w.ExecCount}
}

// Loss is what one sensor lost for one reason since it was opened.
type Loss struct {
	Reason string
	Count  uint64
	// Benign: counted so that sums agree, but nothing is missing from any answer.
	Benign bool
}

// load loads the programs of spec on the maps of set.
func load(set *pin.Set, spec *ebpf.CollectionSpec, objects any) error {
	return spec.LoadAndAssign(objects, &ebpf.CollectionOptions{MapReplacements: set.Maps()})
}

// attach links each program to what its section names, and makes them those of set that count. On an error the earlier ones
// are detached again, unless they were pinned: the next agent finds those.
func attach(set *pin.Set, programs ...*ebpf.Program) ([]link.Link, error) {
	var links []link.Link
	for _, p := range programs {
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("attach %s: %w", p, err), closeLinks(links))
		}
		links = append(links, l)
		info, err := p.Info()
		if err == nil {
			err = set.Keep(info.Name, l)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("keep the link of %s: %w", p, err), closeLinks(links))
		}
	}
	if err := set.Begin(); err != nil {
		return nil, errors.Join(err, closeLinks(links))
	}
	return links, nil
}

func closeLinks(links []link.Link) error {
	var errs []error
	for _, l := range links {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// explain makes the verifier's refusal short enough to read: its last lines tell why.
func explain(what string, err error) error {
	if ve, ok := errors.AsType[*ebpf.VerifierError](err); ok {
		lines := ve.Log[max(0, len(ve.Log)-8):]
		return fmt.Errorf("load %s sensor: the kernel's verifier refused it: %w\n%s", what, ve.Cause, strings.Join(lines, "\n"))
	}
	return fmt.Errorf("load %s sensor: %w", what, err)
}

// iterate runs a BPF iterator over m (nil for those over the whole kernel) to its end and hands its output to read.
func iterate(p *ebpf.Program, m *ebpf.Map, read func(io.Reader) error) error {
	it, err := link.AttachIter(link.IterOptions{Program: p, Map: m})
	if err != nil {
		return fmt.Errorf("attach iterator %s: %w", p, err)
	}
	defer it.Close()
	r, err := it.Open()
	if err != nil {
		return fmt.Errorf("open iterator %s: %w", p, err)
	}
	defer r.Close()
	// Each read(2) begins by looking up where the one before it ended.
	if err := read(bufio.NewReaderSize(r, 64<<10)); err != nil {
		return fmt.Errorf("read iterator %s: %w", p, err)
	}
	return nil
}

// silent reads an iterator that writes nothing and works by what it does.
func silent(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
