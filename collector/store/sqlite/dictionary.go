// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"google.golang.org/protobuf/proto"
)

// dictionaries remember the numbers of entities that were used lately. One that was forgotten is looked up in the
// database again, so their sizes bound memory (together some 130 MiB when all are full) and nothing else.
type dictionaries struct {
	strings   *simplelru.LRU[string, int64]
	workloads *simplelru.LRU[workloadKey, int64]
	instances *simplelru.LRU[digest, int64]
	processes *simplelru.LRU[digest, int64]
	contexts  *simplelru.LRU[contextKey, int64]
	files     *simplelru.LRU[fileKey, int64]
	peers     *simplelru.LRU[peerKey, int64]
	parties   *simplelru.LRU[partyKey, int64]
	edges     *simplelru.LRU[edgeKey, int64]
}

func newDictionaries() *dictionaries {
	return &dictionaries{
		strings:   newLRU[string](65536),
		workloads: newLRU[workloadKey](16384),
		instances: newLRU[digest](65536),
		processes: newLRU[digest](131072),
		contexts:  newLRU[contextKey](16384),
		files:     newLRU[fileKey](131072),
		peers:     newLRU[peerKey](131072),
		parties:   newLRU[partyKey](65536),
		edges:     newLRU[edgeKey](65536),
	}
}

func newLRU[K comparable](size int) *simplelru.LRU[K, int64] {
	l, err := simplelru.NewLRU[K, int64](size, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return l
}

func (d *dictionaries) purge() {
	d.strings.Purge()
	d.workloads.Purge()
	d.instances.Purge()
	d.processes.Purge()
	d.contexts.Purge()
	d.files.Purge()
	d.peers.Purge()
	d.parties.Purge()
	d.edges.Purge()
}

type workloadKey struct{ cluster, namespace, kind, name string }

// digest identifies the content of a message that is too large to be a key itself.
type digest [16]byte

// digestOf a message that belongs to a node and, for a process, to an instance.
func digestOf(node, instance int64, m proto.Message) (digest, error) {
	buf := binary.BigEndian.AppendUint64(make([]byte, 0, 512), uint64(node))
	buf = binary.BigEndian.AppendUint64(buf, uint64(instance))
	buf, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(buf, m)
	if err != nil {
		return digest{}, err
	}
	sum := sha256.Sum256(buf)
	return digest(sum[:16]), nil
}

// short is the part of the digest that is stored, next to the id which it tells versions apart of.
func (d digest) short() int64 { return int64(binary.BigEndian.Uint64(d[:8])) }

type contextKey struct {
	cwd                           int64
	uid, gid, pidNS, mntNS, netNS uint32
	capEffective                  uint64
}

type fileKey struct {
	node            int64
	path, hostPath  string
	fsType          string
	rest            string
	inode           uint64
	dev, generation uint32
	storageClass    spoorv1.StorageClass
}

type peerKey struct {
	transport                  spoorv1.Transport
	direction                  spoorv1.Direction
	netNS, localPort, peerPort uint32
	local, peer, dns           string
}

type partyKey struct {
	workload int64
	execID   string
}

// text interns a string.
func (w *writer) text(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	if id, ok := w.ids.strings.Get(s); ok {
		return id, nil
	}
	id, found, err := w.find("SELECT id FROM string WHERE text = ?", s)
	if err == nil && !found {
		id, err = w.insert("INSERT INTO string (text) VALUES (?)", s)
	}
	if err != nil {
		return 0, fmt.Errorf("string: %w", err)
	}
	w.ids.strings.Add(s, id)
	return id, nil
}

// workload interns a workload; nil is 0.
func (w *writer) workload(m *spoorv1.Workload) (int64, error) {
	if m == nil {
		return 0, nil
	}
	k := workloadKey{m.GetCluster(), m.GetNamespace(), m.GetKind(), m.GetName()}
	if id, ok := w.ids.workloads.Get(k); ok {
		return id, nil
	}
	id, found, err := w.find("SELECT id FROM workload WHERE name = ? AND kind = ? AND namespace = ? AND cluster = ?", k.name, k.kind, k.namespace, k.cluster)
	if err == nil && !found {
		id, err = w.insert("INSERT INTO workload (cluster, namespace, kind, name) VALUES (?, ?, ?, ?)", k.cluster, k.namespace, k.kind, k.name)
	}
	if err != nil {
		return 0, fmt.Errorf("workload %s: %w", k.name, err)
	}
	w.ids.workloads.Add(k, id)
	return id, nil
}

// instance interns this version of an instance; nil is 0.
func (w *writer) instance(node int64, m *spoorv1.Instance) (int64, error) {
	if m == nil {
		return 0, nil
	}
	d, err := digestOf(node, 0, m)
	if err != nil {
		return 0, fmt.Errorf("instance %s: %w", m.GetId(), err)
	}
	if id, ok := w.ids.instances.Get(d); ok {
		return id, nil
	}
	id, found, err := w.find("SELECT id FROM instance WHERE instance = ? AND digest = ? AND node = ?", m.GetId(), d.short(), node)
	if err == nil && !found {
		id, err = w.insertInstance(node, m, d)
	}
	if err != nil {
		return 0, fmt.Errorf("instance %s: %w", m.GetId(), err)
	}
	w.ids.instances.Add(d, id)
	return id, nil
}

func (w *writer) insertInstance(node int64, m *spoorv1.Instance, d digest) (int64, error) {
	workload, err := w.workload(m.GetWorkload())
	if err != nil {
		return 0, err
	}
	start, err := nanos(m.GetStartTime())
	if err != nil {
		return 0, err
	}
	rest, err := restOf(m, instanceOthers)
	if err != nil {
		return 0, err
	}
	return w.insert(`INSERT INTO instance (node, instance, workload, cgroup_id, cgroup_path, container_id, pod_name,
		pod_uid, container_name, start_time, rest, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		node, m.GetId(), null(workload), m.GetCgroupId(), m.GetCgroupPath(), m.GetContainerId(), m.GetPodName(),
		m.GetPodUid(), m.GetContainerName(), start, rest, d.short())
}

// process interns this version of a process within its instance; nil is 0. event is the one that names it.
func (w *writer) process(node, instance int64, m *spoorv1.Process, event uint64) (int64, error) {
	if m == nil {
		return 0, nil
	}
	d, err := digestOf(node, instance, m)
	if err != nil {
		return 0, fmt.Errorf("process %s: %w", m.GetExecId(), err)
	}
	if id, ok := w.ids.processes.Get(d); ok {
		return id, nil
	}
	id, found, err := w.find("SELECT id FROM process WHERE exec_id = ? AND digest = ?", m.GetExecId(), d.short())
	if err == nil && !found {
		id, err = w.insertProcess(node, instance, m, event, d)
	}
	if err != nil {
		return 0, fmt.Errorf("process %s: %w", m.GetExecId(), err)
	}
	w.ids.processes.Add(d, id)
	return id, nil
}

func (w *writer) insertProcess(node, instance int64, m *spoorv1.Process, event uint64, d digest) (int64, error) {
	comm, err := w.text(m.GetComm())
	if err != nil {
		return 0, err
	}
	exe, err := w.text(m.GetExe())
	if err != nil {
		return 0, err
	}
	args, err := jsonArray(m.GetArgs())
	if err != nil {
		return 0, err
	}
	start, err := nanos(m.GetStartTime())
	if err != nil {
		return 0, err
	}
	context, err := w.context(m)
	if err != nil {
		return 0, err
	}
	rest, err := restOf(m, processOthers)
	if err != nil {
		return 0, err
	}
	return w.insert(`INSERT INTO process (instance, node, exec_id, parent_exec_id, tgid, parent_tgid, comm, exe, args,
		start_time, context, rest, digest, first_event) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		null(instance), node, m.GetExecId(), m.GetParentExecId(), m.GetTgid(), m.GetParentTgid(), comm, exe, args,
		start, context, rest, d.short(), event)
}

func (w *writer) context(m *spoorv1.Process) (int64, error) {
	cwd, err := w.text(m.GetCwd())
	if err != nil {
		return 0, err
	}
	k := contextKey{cwd, m.GetUid(), m.GetGid(), m.GetPidNs(), m.GetMntNs(), m.GetNetNs(), m.GetCapEffective()}
	if id, ok := w.ids.contexts.Get(k); ok {
		return id, nil
	}
	args := []any{k.cwd, k.mntNS, k.uid, k.gid, k.pidNS, k.netNS, k.capEffective}
	id, found, err := w.find(`SELECT id FROM context WHERE cwd = ? AND mnt_ns = ? AND uid = ? AND gid = ? AND pid_ns = ?
		AND net_ns = ? AND cap_effective = ?`, args...)
	if err == nil && !found {
		id, err = w.insert(`INSERT INTO context (cwd, mnt_ns, uid, gid, pid_ns, net_ns, cap_effective) VALUES (?, ?, ?, ?, ?, ?, ?)`, args...)
	}
	if err != nil {
		return 0, err
	}
	w.ids.contexts.Add(k, id)
	return id, nil
}

// file interns a file without the flags that change while it lives (they stay with the event).
func (w *writer) file(node int64, m *spoorv1.File) (int64, error) {
	rest, err := restOf(m, fileOthers)
	if err != nil {
		return 0, err
	}
	k := fileKey{
		node: node, path: m.GetPath(), hostPath: m.GetHostPath(), fsType: m.GetFsType(), rest: string(rest), inode: m.GetInode(),
		dev: m.GetDev(), generation: m.GetGeneration(), storageClass: m.GetStorageClass(),
	}
	if id, ok := w.ids.files.Get(k); ok {
		return id, nil
	}
	id, err := w.lookupFile(k, rest)
	if err != nil {
		return 0, fmt.Errorf("file %q: %w", k.path, err)
	}
	w.ids.files.Add(k, id)
	return id, nil
}

func (w *writer) lookupFile(k fileKey, rest []byte) (int64, error) {
	dirText, name := splitPath(k.path)
	dir, err := w.text(dirText)
	if err != nil {
		return 0, err
	}
	hostDirText, hostName := splitPath(k.hostPath)
	hostDir, err := w.text(hostDirText)
	if err != nil {
		return 0, err
	}
	var hostNameOrNull any
	if hostName != name {
		hostNameOrNull = hostName
	}
	fsType, err := w.text(k.fsType)
	if err != nil {
		return 0, err
	}
	args := []any{dir, name, k.digest(), k.inode, k.dev, k.generation, fsType, int32(k.storageClass), hostDir, hostNameOrNull, k.node, rest}
	id, found, err := w.find(`SELECT id FROM file WHERE dir = ? AND name = ? AND digest = ? AND inode = ? AND dev = ? AND generation = ?
		AND fs_type = ? AND storage_class = ? AND host_dir = ? AND host_name IS ? AND node = ? AND rest IS ?`, args...)
	if err != nil || found {
		return id, err
	}
	return w.insert(`INSERT INTO file (dir, name, digest, inode, dev, generation, fs_type, storage_class, host_dir, host_name, node, rest)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, args...)
}

// digest tells apart files of one path, nearly always, in as many bits as SQLite keeps in four bytes.
func (k *fileKey) digest() int64 {
	h := crc32.NewIEEE()
	var numbers [32]byte
	binary.BigEndian.PutUint64(numbers[0:], uint64(k.node))
	binary.BigEndian.PutUint64(numbers[8:], k.inode)
	binary.BigEndian.PutUint32(numbers[16:], k.dev)
	binary.BigEndian.PutUint32(numbers[20:], k.generation)
	binary.BigEndian.PutUint32(numbers[24:], uint32(k.storageClass))
	for _, part := range [][]byte{numbers[:], []byte(k.path), []byte(k.hostPath), []byte(k.fsType), []byte(k.rest)} {
		h.Write(part) // of a hash: never an error
	}
	return int64(h.Sum32() >> 1)
}

// splitPath cuts behind the last slash, so that dir + name is the path again.
func splitPath(p string) (dir, name string) {
	i := strings.LastIndexByte(p, '/') + 1
	return p[:i], p[i:]
}

func (w *writer) peer(k peerKey) (int64, error) {
	if id, ok := w.ids.peers.Get(k); ok {
		return id, nil
	}
	local, err := w.text(k.local)
	if err != nil {
		return 0, err
	}
	peer, err := w.text(k.peer)
	if err != nil {
		return 0, err
	}
	dns, err := w.text(k.dns)
	if err != nil {
		return 0, err
	}
	args := []any{peer, k.peerPort, local, k.localPort, int32(k.transport), int32(k.direction), k.netNS, dns}
	id, found, err := w.find(`SELECT id FROM peer WHERE peer_address = ? AND peer_port = ? AND local_address = ? AND local_port = ?
		AND transport = ? AND direction = ? AND net_ns = ? AND dns_name = ?`, args...)
	if err == nil && !found {
		id, err = w.insert(`INSERT INTO peer (peer_address, peer_port, local_address, local_port, transport, direction, net_ns, dns_name)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, args...)
	}
	if err != nil {
		return 0, fmt.Errorf("peer %s: %w", k.peer, err)
	}
	w.ids.peers.Add(k, id)
	return id, nil
}

// party interns who is at the other end; nobody is 0.
func (w *writer) party(workload *spoorv1.Workload, execID string) (int64, error) {
	if workload == nil && execID == "" {
		return 0, nil
	}
	wl, err := w.workload(workload)
	if err != nil {
		return 0, err
	}
	k := partyKey{wl, execID}
	if id, ok := w.ids.parties.Get(k); ok {
		return id, nil
	}
	id, found, err := w.find("SELECT id FROM party WHERE exec_id = ? AND workload IS ?", execID, null(wl))
	if err == nil && !found {
		id, err = w.insert("INSERT INTO party (exec_id, workload) VALUES (?, ?)", execID, null(wl))
	}
	if err != nil {
		return 0, fmt.Errorf("party %s: %w", execID, err)
	}
	w.ids.parties.Add(k, id)
	return id, nil
}

// jsonArray writes the strings as people would, without escaping for HTML.
func jsonArray(list []string) (string, error) {
	if len(list) == 0 {
		return "", nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(list); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}
