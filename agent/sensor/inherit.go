// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/spoor/spoor/agent/sensor/pin"
)

// losses are the counters of one sensor. They go on from agent to agent, and so does what was read of them: what the
// previous agent read is not told again, and what nobody read is.
type losses struct {
	counters *ebpf.Map
	// What was read so far, a number for each reason. nil where the counters begin with the agent.
	read    *ebpf.Map
	reasons []lossReason
	before  []uint64
	// What was in maps that no program fills any more and this agent cannot read: another layout.
	layout uint64
}

type lossReason struct {
	name   string
	benign bool
}

// lossesRead names the map that remembers what was read.
const lossesRead = "losses_read"

func newLosses(set *pin.Set, counters *ebpf.Map, reasons []lossReason) (*losses, error) {
	l := &losses{counters: counters, reasons: reasons, before: make([]uint64, len(reasons))}
	if set.Maps() == nil {
		return l, nil
	}
	var err error
	l.read, err = set.Map(lossesRead, &ebpf.MapSpec{
		Name: lossesRead, Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: counters.MaxEntries(),
	})
	if err != nil {
		return nil, err
	}
	for i := range l.before {
		if err := l.read.Lookup(uint32(i), &l.before[i]); err != nil {
			return nil, errors.Join(fmt.Errorf("read what was told of losses: %w", err), l.read.Close())
		}
	}
	return l, nil
}

// readCounters sums the per-CPU counters of a sensor; reasons[i] names counter i.
func readCounters(m *ebpf.Map, reasons []lossReason) ([]Loss, error) {
	out := make([]Loss, 0, len(reasons))
	for i, r := range reasons {
		var perCPU []uint64
		if err := m.Lookup(uint32(i), &perCPU); err != nil {
			return nil, fmt.Errorf("read loss counter %s: %w", r.name, err)
		}
		l := Loss{Reason: r.name, Benign: r.benign}
		for _, n := range perCPU {
			l.Count += n
		}
		out = append(out, l)
	}
	return out, nil
}

// since returns what was lost since the sensor was opened, or since the previous agent last looked.
func (l *losses) since() ([]Loss, error) {
	all, err := readCounters(l.counters, l.reasons)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if l.read != nil {
			if err := l.read.Put(uint32(i), all[i].Count); err != nil {
				return nil, fmt.Errorf("keep what was told of loss counter %s: %w", all[i].Reason, err)
			}
		}
		all[i].Count -= l.before[i]
	}
	return append(all, Loss{Reason: "other_layout", Count: l.layout}), nil
}

func (l *losses) close() error {
	if l == nil || l.read == nil {
		return nil
	}
	return l.read.Close()
}

// count adds the entries of a map that cannot be read any more, and drops it.
func (l *losses) count(r *pin.Retired) error {
	key := make([]byte, r.KeySize())
	for err := r.NextKey(nil, &key); ; err = r.NextKey(key, &key) {
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return r.Drop()
		}
		if err != nil {
			return fmt.Errorf("count what is in an earlier agent's map %s: %w", r.Name, err)
		}
		l.layout++
	}
}

// countRing adds the records of a ring that cannot be decoded any more, and drops it.
func (l *losses) countRing(r *pin.Retired) error {
	return readRetired(r, func([]byte) error {
		l.layout++
		return nil
	})
}

// inheritRecords calls fn for each record in a ring of another size, and drops all maps that no program fills any more.
func inheritRecords(set *pin.Set, l *losses, ring string, fn func([]byte) error) error {
	for _, r := range set.Retired() {
		var err error
		switch {
		case r.Name != ring:
			err = r.Drop()
		case !r.Known:
			err = l.countRing(r)
		default:
			err = readRetired(r, fn)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readRetired reads what is left in a ring that no program fills any more, and drops it.
func readRetired(r *pin.Retired, fn func([]byte) error) error {
	old, err := openRing(r.Map)
	if err != nil {
		return err
	}
	for {
		b, ok := old.next()
		if !ok {
			return errors.Join(old.close(), r.Drop())
		}
		if err := fn(b); err != nil {
			return errors.Join(err, old.close())
		}
	}
}
