// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"zombiezen.com/go/sqlite"
)

// entityCache keeps decoded entities by their numbers, which never come to mean something else once they are
// committed. What it holds is shared by answers and must not be changed.
type entityCache struct {
	strings   *lru.Cache[int64, string]
	workloads *lru.Cache[int64, *spoorv1.Workload]
	instances *lru.Cache[int64, *spoorv1.Instance]
	processes *lru.Cache[int64, *spoorv1.Process]
	contexts  *lru.Cache[int64, *contextEntity]
	files     *lru.Cache[int64, *spoorv1.File]
	peers     *lru.Cache[int64, *peerKey]
	parties   *lru.Cache[int64, *partyEntity]
	runs      *lru.Cache[int64, *store.Run]
	nodes     *lru.Cache[int64, string]
}

type partyEntity struct {
	workload *spoorv1.Workload
	execID   string
}

func newEntityCache(size int) *entityCache {
	return &entityCache{
		strings:   newCache[string](size),
		workloads: newCache[*spoorv1.Workload](size),
		instances: newCache[*spoorv1.Instance](size),
		processes: newCache[*spoorv1.Process](size),
		contexts:  newCache[*contextEntity](size),
		files:     newCache[*spoorv1.File](size),
		peers:     newCache[*peerKey](size),
		parties:   newCache[*partyEntity](size),
		runs:      newCache[*store.Run](size),
		nodes:     newCache[string](size),
	}
}

func newCache[V any](size int) *lru.Cache[int64, V] {
	c, err := lru.New[int64, V](size)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return c
}

func (c *entityCache) purge() {
	c.strings.Purge()
	c.workloads.Purge()
	c.instances.Purge()
	c.processes.Purge()
	c.contexts.Purge()
	c.files.Purge()
	c.peers.Purge()
	c.parties.Purge()
	c.runs.Purge()
	c.nodes.Purge()
}

// reader turns rows into events on one connection.
type reader struct {
	conn     *sqlite.Conn
	cache    *entityCache
	maxFiles int // see there; for queries of events only
}

// errMissing: an entity was forgotten while something still refers to it.
var errMissing = errors.New("missing from the store")

// entity returns the cached value of id, or reads it with sql, whose only parameter is the id.
func entity[V any](r *reader, cache *lru.Cache[int64, V], what, sql string, id int64, scan func(*sqlite.Stmt) (V, error)) (V, error) {
	if v, ok := cache.Get(id); ok {
		return v, nil
	}
	var zero V
	st, err := r.conn.Prepare(sql)
	if err != nil {
		return zero, err
	}
	st.BindInt64(1, id)
	found, err := st.Step()
	if err != nil {
		return zero, err
	}
	if !found {
		return zero, fmt.Errorf("%s %d: %w", what, id, errMissing)
	}
	v, err := scan(st)
	if err2 := st.Reset(); err == nil {
		err = err2
	}
	if err != nil {
		return zero, fmt.Errorf("%s %d: %w", what, id, err)
	}
	cache.Add(id, v)
	return v, nil
}

func (r *reader) text(id int64) (string, error) {
	if id == 0 {
		return "", nil
	}
	return entity(r, r.cache.strings, "string", "SELECT text FROM string WHERE id = ?", id, func(st *sqlite.Stmt) (string, error) {
		return st.ColumnText(0), nil
	})
}

func (r *reader) workload(id int64) (*spoorv1.Workload, error) {
	if id == 0 {
		return nil, nil
	}
	return entity(r, r.cache.workloads, "workload", "SELECT cluster, namespace, kind, name FROM workload WHERE id = ?", id,
		func(st *sqlite.Stmt) (*spoorv1.Workload, error) {
			return &spoorv1.Workload{Cluster: st.ColumnText(0), Namespace: st.ColumnText(1), Kind: st.ColumnText(2), Name: st.ColumnText(3)}, nil
		})
}

func (r *reader) instance(id int64) (*spoorv1.Instance, error) {
	if id == 0 {
		return nil, nil
	}
	return entity(r, r.cache.instances, "instance", `SELECT instance, workload, cgroup_id, cgroup_path, container_id, pod_name,
		pod_uid, container_name, start_time, rest FROM instance WHERE id = ?`, id,
		func(st *sqlite.Stmt) (*spoorv1.Instance, error) {
			m := &spoorv1.Instance{
				Id: st.ColumnText(0), CgroupId: uint64(st.ColumnInt64(2)), CgroupPath: st.ColumnText(3), ContainerId: st.ColumnText(4),
				PodName: st.ColumnText(5), PodUid: st.ColumnText(6), ContainerName: st.ColumnText(7), StartTime: columnTime(st, 8),
			}
			workload, rest := st.ColumnInt64(1), columnBytes(st, 9)
			var err error
			if m.Workload, err = r.workload(workload); err != nil {
				return nil, err
			}
			return m, mergeRest(rest, m)
		})
}

// context is what processes share.
type contextEntity struct {
	cwd                           string
	uid, gid, pidNS, mntNS, netNS uint32
	capEffective                  uint64
}

// The statements below look at one table each, by its primary key. SQLite prepares a join of them anew whenever its
// parameter changes, which costs many times the look-ups that it saves.

func (r *reader) context(id int64) (*contextEntity, error) {
	return entity(r, r.cache.contexts, "context", "SELECT cwd, uid, gid, pid_ns, mnt_ns, net_ns, cap_effective FROM context WHERE id = ?", id,
		func(st *sqlite.Stmt) (*contextEntity, error) {
			c := &contextEntity{
				uid: uint32(st.ColumnInt64(1)), gid: uint32(st.ColumnInt64(2)), pidNS: uint32(st.ColumnInt64(3)),
				mntNS: uint32(st.ColumnInt64(4)), netNS: uint32(st.ColumnInt64(5)), capEffective: uint64(st.ColumnInt64(6)),
			}
			var err error
			c.cwd, err = r.text(st.ColumnInt64(0))
			return c, err
		})
}

// processColumns are what scanProcess reads, in its order, and processWidth is how many they are.
const (
	processColumns = "exec_id, parent_exec_id, tgid, parent_tgid, args, start_time, rest, comm, exe, context"
	processWidth   = 10
)

func (r *reader) process(id int64) (*spoorv1.Process, error) {
	if id == 0 {
		return nil, nil
	}
	return entity(r, r.cache.processes, "process", "SELECT "+processColumns+" FROM process WHERE id = ?", id, r.scanProcess)
}

func (r *reader) scanProcess(st *sqlite.Stmt) (*spoorv1.Process, error) {
	m := &spoorv1.Process{
		ExecId: st.ColumnText(0), ParentExecId: st.ColumnText(1), Tgid: uint32(st.ColumnInt64(2)), ParentTgid: uint32(st.ColumnInt64(3)),
		StartTime: columnTime(st, 5),
	}
	if args := st.ColumnText(4); args != "" {
		if err := json.Unmarshal([]byte(args), &m.Args); err != nil {
			return nil, fmt.Errorf("args: %w", err)
		}
	}
	rest := columnBytes(st, 6)
	var err error
	if m.Comm, err = r.text(st.ColumnInt64(7)); err != nil {
		return nil, err
	}
	if m.Exe, err = r.text(st.ColumnInt64(8)); err != nil {
		return nil, err
	}
	c, err := r.context(st.ColumnInt64(9))
	if err != nil {
		return nil, err
	}
	m.Cwd, m.Uid, m.Gid, m.PidNs, m.MntNs, m.NetNs, m.CapEffective = c.cwd, c.uid, c.gid, c.pidNS, c.mntNS, c.netNS, c.capEffective
	return m, mergeRest(rest, m)
}

// file returns a File with the flags that it had at the time of an event.
func (r *reader) file(id, flags int64) (*spoorv1.File, error) {
	f, err := entity(r, r.cache.files, "file", `SELECT dir, name, dev, inode, generation, fs_type, storage_class, host_dir, host_name, rest
		FROM file WHERE id = ?`, id,
		func(st *sqlite.Stmt) (*spoorv1.File, error) {
			name := st.ColumnText(1)
			hostName := name
			if !st.ColumnIsNull(8) {
				hostName = st.ColumnText(8)
			}
			m := &spoorv1.File{
				Dev: uint32(st.ColumnInt64(2)), Inode: uint64(st.ColumnInt64(3)), Generation: uint32(st.ColumnInt64(4)),
				StorageClass: spoorv1.StorageClass(st.ColumnInt64(6)),
			}
			rest := columnBytes(st, 9)
			for col, into := range map[int]*string{0: &m.Path, 5: &m.FsType, 7: &m.HostPath} {
				var err error
				if *into, err = r.text(st.ColumnInt64(col)); err != nil {
					return nil, err
				}
			}
			m.Path, m.HostPath = m.Path+name, m.HostPath+hostName
			return m, mergeRest(rest, m)
		})
	if err != nil {
		return nil, err
	}
	if flags == 0 {
		return f, nil
	}
	f = proto.CloneOf(f)
	f.PathTruncated, f.Unlinked = flags&flagTruncated != 0, flags&flagUnlinked != 0
	return f, nil
}

func (r *reader) peer(id int64) (*peerKey, error) {
	return entity(r, r.cache.peers, "peer", `SELECT transport, direction, net_ns, local_port, peer_port, local_address, peer_address, dns_name
		FROM peer WHERE id = ?`, id,
		func(st *sqlite.Stmt) (*peerKey, error) {
			k := &peerKey{
				transport: spoorv1.Transport(st.ColumnInt64(0)), direction: spoorv1.Direction(st.ColumnInt64(1)),
				netNS: uint32(st.ColumnInt64(2)), localPort: uint32(st.ColumnInt64(3)), peerPort: uint32(st.ColumnInt64(4)),
			}
			for col, into := range map[int]*string{5: &k.local, 6: &k.peer, 7: &k.dns} {
				var err error
				if *into, err = r.text(st.ColumnInt64(col)); err != nil {
					return nil, err
				}
			}
			return k, nil
		})
}

func (r *reader) party(id int64) (*partyEntity, error) {
	p, err := entity(r, r.cache.parties, "party", "SELECT workload, exec_id FROM party WHERE id = ?", id,
		func(st *sqlite.Stmt) (*partyEntity, error) {
			p := &partyEntity{execID: st.ColumnText(1)}
			var err error
			p.workload, err = r.workload(st.ColumnInt64(0))
			return p, err
		})
	if errors.Is(err, errMissing) {
		return &partyEntity{}, nil // nobody knows any more
	}
	return p, err
}

func (r *reader) nodeName(id int64) (string, error) {
	return entity(r, r.cache.nodes, "node", "SELECT name FROM node WHERE id = ?", id, func(st *sqlite.Stmt) (string, error) {
		return st.ColumnText(0), nil
	})
}

func (r *reader) run(id int64) (*store.Run, error) {
	return entity(r, r.cache.runs, "run", "SELECT n.cluster, n.name, r.epoch FROM run r JOIN node n ON n.id = r.node WHERE r.id = ?", id,
		func(st *sqlite.Stmt) (*store.Run, error) {
			return &store.Run{Cluster: st.ColumnText(0), Node: st.ColumnText(1), Epoch: st.ColumnText(2)}, nil
		})
}

// eventColumns are what scanEvent reads, in its order.
const eventColumns = `event.id, event.time, event.kind, event.run, event.sequence, event.instance, event.process, event.file,
	event.peer, event.other, event.first, event.last, event.a, event.b, event.c, event.d, event.e, event.f, event.rest`

type eventRow struct {
	id, time, run, sequence, instance, process int64
	kind                                       store.Kind
	row
}

func scanEvent(st *sqlite.Stmt) eventRow {
	e := eventRow{
		id: st.ColumnInt64(0), time: st.ColumnInt64(1), kind: store.Kind(st.ColumnInt64(2)), run: st.ColumnInt64(3),
		sequence: st.ColumnInt64(4), instance: st.ColumnInt64(5), process: st.ColumnInt64(6),
		row: row{
			file: st.ColumnInt64(7), peer: st.ColumnInt64(8), other: st.ColumnInt64(9),
			first: columnOptional(st, 10), last: columnOptional(st, 11), rest: columnBytes(st, 18),
		},
	}
	for i := range e.n {
		e.n[i] = st.ColumnInt64(12 + i)
	}
	return e
}

func (r *reader) event(e *eventRow) (*spoorv1.Event, error) {
	run, err := r.run(e.run)
	if err != nil {
		return nil, err
	}
	ev := &spoorv1.Event{
		Id: uint64(e.id), Sequence: uint64(e.sequence), Epoch: run.Epoch, Node: run.Node,
		Time: timestamp(e.time), Kind: e.kind.String(),
	}
	if ev.Instance, err = r.instance(e.instance); err != nil {
		return nil, err
	}
	if ev.Process, err = r.process(e.process); err != nil && !errors.Is(err, errMissing) {
		return nil, err
	}
	if err := r.decode(e.kind, e.time, &e.row, ev); err != nil {
		return nil, err
	}
	return ev, nil
}

// events runs a statement that selects eventColumns.
func (r *reader) events(st *sqlite.Stmt) ([]*spoorv1.Event, error) {
	var rows []eventRow
	for {
		more, err := st.Step()
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		rows = append(rows, scanEvent(st))
	}
	if err := st.Reset(); err != nil {
		return nil, err
	}
	evs := make([]*spoorv1.Event, 0, len(rows))
	for i := range rows {
		ev, err := r.event(&rows[i])
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", rows[i].id, err)
		}
		evs = append(evs, ev)
	}
	return evs, nil
}

// byID returns those events that exist, in the order asked.
func (r *reader) byID(ids []uint64) ([]*spoorv1.Event, error) {
	var all []*spoorv1.Event
	for _, id := range ids {
		st, err := r.conn.Prepare("SELECT " + eventColumns + " FROM event WHERE id = ?")
		if err != nil {
			return nil, err
		}
		st.BindInt64(1, int64(id))
		evs, err := r.events(st)
		if err != nil {
			return nil, err
		}
		all = append(all, evs...)
	}
	return all, nil
}

func (r *row) interval(t int64) (first, last *timestamppb.Timestamp) {
	if r.first.ok {
		first = timestamp(t - r.first.v)
	}
	if r.last.ok {
		last = timestamp(t - r.last.v)
	}
	return first, last
}

func columnOptional(st *sqlite.Stmt, col int) optional {
	if st.ColumnIsNull(col) {
		return optional{}
	}
	return optional{st.ColumnInt64(col), true}
}

func columnTime(st *sqlite.Stmt, col int) *timestamppb.Timestamp {
	if st.ColumnIsNull(col) {
		return nil
	}
	return timestamp(st.ColumnInt64(col))
}

// columnBytes copies a blob; an empty one is nil.
func columnBytes(st *sqlite.Stmt, col int) []byte {
	n := st.ColumnLen(col)
	if n == 0 {
		return nil
	}
	b := make([]byte, n)
	st.ColumnBytes(col, b)
	return b
}

func goTime(ns int64) time.Time { return time.Unix(0, ns).UTC() }
