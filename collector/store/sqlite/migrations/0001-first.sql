-- SPDX-License-Identifier: Apache-2.0
--
-- Entities are written once and referred to by number; an event is a narrow row of such numbers. An entity row is
-- one exact version: when an agent later says more about the same process, that is another row with the same
-- exec_id, and older events go on showing what was known when they were made.
--
-- Times are nanoseconds since 1970. uint64 values are kept in SQLite's int64 with the same bits.

-- Words and directories that repeat. Row 0 is the empty string, so that a reference never needs to be null.
CREATE TABLE string (
    id   INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
);
INSERT INTO string VALUES (0, '');

CREATE TABLE node (
    id      INTEGER PRIMARY KEY,
    cluster TEXT NOT NULL,
    name    TEXT NOT NULL,
    UNIQUE (cluster, name)
);

-- One run of one agent. acknowledged is the highest batch that is durable: the check that makes delivery
-- exactly-once in effect. last_sequence is the highest event sequence, last_event the highest event id.
CREATE TABLE run (
    id             INTEGER PRIMARY KEY,
    node           INTEGER NOT NULL,
    epoch          TEXT    NOT NULL,
    boot_id        TEXT    NOT NULL DEFAULT '',
    version        TEXT    NOT NULL DEFAULT '',
    kernel_release TEXT    NOT NULL DEFAULT '',
    architecture   TEXT    NOT NULL DEFAULT '',
    start_time     INTEGER,
    last_seen      INTEGER NOT NULL,
    skew           INTEGER NOT NULL DEFAULT 0,
    acknowledged   INTEGER NOT NULL DEFAULT 0,
    last_sequence  INTEGER NOT NULL DEFAULT 0,
    last_event     INTEGER NOT NULL DEFAULT 0,
    UNIQUE (node, epoch)
);

-- Event numbers of a run that never came, from first to last.
CREATE TABLE gap (
    run   INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last  INTEGER NOT NULL,
    time  INTEGER NOT NULL,
    PRIMARY KEY (run, first)
) WITHOUT ROWID;

-- The latest word of each sensor.
CREATE TABLE coverage (
    run    INTEGER NOT NULL,
    sensor TEXT    NOT NULL,
    tier   TEXT    NOT NULL,
    reason TEXT    NOT NULL,
    time   INTEGER NOT NULL,
    PRIMARY KEY (run, sensor)
) WITHOUT ROWID;

CREATE TABLE workload (
    id        INTEGER PRIMARY KEY,
    cluster   TEXT NOT NULL,
    namespace TEXT NOT NULL,
    kind      TEXT NOT NULL,
    name      TEXT NOT NULL,
    UNIQUE (name, kind, namespace, cluster)
);

CREATE TABLE instance (
    id             INTEGER PRIMARY KEY,
    node           INTEGER NOT NULL,
    instance       TEXT    NOT NULL,
    workload       INTEGER,
    cgroup_id      INTEGER NOT NULL,
    cgroup_path    TEXT    NOT NULL,
    container_id   TEXT    NOT NULL,
    pod_name       TEXT    NOT NULL,
    pod_uid        TEXT    NOT NULL,
    container_name TEXT    NOT NULL,
    start_time     INTEGER,
    rest           BLOB,
    digest         INTEGER NOT NULL
);
CREATE INDEX instance_instance ON instance (instance);
CREATE INDEX instance_workload ON instance (workload);

-- args is a JSON array. first_event is the first event that named this row: nothing older refers to it.
CREATE TABLE process (
    id             INTEGER PRIMARY KEY,
    instance       INTEGER,
    node           INTEGER NOT NULL,
    exec_id        TEXT    NOT NULL,
    parent_exec_id TEXT    NOT NULL,
    tgid           INTEGER NOT NULL,
    parent_tgid    INTEGER NOT NULL,
    comm           INTEGER NOT NULL,
    exe            INTEGER NOT NULL,
    args           TEXT    NOT NULL,
    start_time     INTEGER,
    context        INTEGER NOT NULL,
    rest           BLOB,
    digest         INTEGER NOT NULL,
    first_event    INTEGER NOT NULL,
    exit_time      INTEGER,
    exit_code      INTEGER,
    exit_signal    INTEGER
);
CREATE INDEX process_exec_id ON process (exec_id);
CREATE INDEX process_parent ON process (parent_exec_id);

-- What processes of one instance mostly have in common.
CREATE TABLE context (
    id            INTEGER PRIMARY KEY,
    cwd           INTEGER NOT NULL,
    uid           INTEGER NOT NULL,
    gid           INTEGER NOT NULL,
    pid_ns        INTEGER NOT NULL,
    mnt_ns        INTEGER NOT NULL,
    net_ns        INTEGER NOT NULL,
    cap_effective INTEGER NOT NULL
);
CREATE INDEX context_cwd ON context (cwd, mnt_ns);

-- path is dir || name, dir ends with a slash; host_path is host_dir || host_name, where a null host_name means name.
CREATE TABLE file (
    id            INTEGER PRIMARY KEY,
    node          INTEGER NOT NULL,
    dir           INTEGER NOT NULL,
    name          TEXT    NOT NULL,
    dev           INTEGER NOT NULL,
    inode         INTEGER NOT NULL,
    generation    INTEGER NOT NULL,
    fs_type       INTEGER NOT NULL,
    storage_class INTEGER NOT NULL,
    host_dir      INTEGER NOT NULL,
    host_name     TEXT,
    rest          BLOB,
    digest        INTEGER NOT NULL
);
-- By directory and name for paths that begin with something; with the digest for one file, since a file that is
-- replaced by a rename has a new inode under the same name each time.
CREATE INDEX file_path ON file (dir, name, digest);

-- Both ends of a flow, or the local end of a listener, as addresses.
CREATE TABLE peer (
    id            INTEGER PRIMARY KEY,
    transport     INTEGER NOT NULL,
    direction     INTEGER NOT NULL,
    net_ns        INTEGER NOT NULL,
    local_address INTEGER NOT NULL,
    local_port    INTEGER NOT NULL,
    peer_address  INTEGER NOT NULL,
    peer_port     INTEGER NOT NULL,
    dns_name      INTEGER NOT NULL
);
CREATE INDEX peer_peer ON peer (peer_address, peer_port, local_address);
CREATE INDEX peer_local ON peer (local_address);

-- Who is at the other end of a flow.
CREATE TABLE party (
    id       INTEGER PRIMARY KEY,
    workload INTEGER,
    exec_id  TEXT NOT NULL,
    UNIQUE (exec_id, workload)
);

-- What the columns mean depends on the kind (see kinds.go); rest holds, as protobuf, what they cannot.
-- first and last are kept as time - first and time - last.
CREATE TABLE event (
    id       INTEGER PRIMARY KEY,
    time     INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    run      INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    instance INTEGER,
    process  INTEGER,
    file     INTEGER,
    peer     INTEGER,
    other    INTEGER,
    first    INTEGER,
    last     INTEGER,
    a        INTEGER,
    b        INTEGER,
    c        INTEGER,
    d        INTEGER,
    e        INTEGER,
    f        INTEGER,
    rest     BLOB
);
CREATE INDEX event_instance ON event (instance) WHERE instance IS NOT NULL;
CREATE INDEX event_file ON event (file) WHERE file IS NOT NULL;
CREATE INDEX event_peer ON event (peer) WHERE peer IS NOT NULL;
-- New paths of renames and links.
CREATE INDEX event_target ON event (other) WHERE kind = 4 AND other IS NOT NULL;
-- Kinds that are few and are asked for alone: listen, dns, share, loss, coverage.
CREATE INDEX event_rare ON event (id) WHERE kind >= 6;

-- Which ids hold the events of a minute: the index of time, at one row a minute instead of one an event.
CREATE TABLE minute (
    minute INTEGER PRIMARY KEY,
    first  INTEGER NOT NULL,
    last   INTEGER NOT NULL
);

-- Who talks to whom. An end is a workload or, where nobody is known to hold it, an address with the name asked for.
-- first outlives edge_hour, so that "since when" stays answerable after old events are gone.
CREATE TABLE edge (
    id            INTEGER PRIMARY KEY,
    from_workload INTEGER NOT NULL,
    from_address  INTEGER NOT NULL,
    to_workload   INTEGER NOT NULL,
    to_address    INTEGER NOT NULL,
    to_name       INTEGER NOT NULL,
    port          INTEGER NOT NULL,
    transport     INTEGER NOT NULL,
    first         INTEGER NOT NULL,
    UNIQUE (from_workload, from_address, to_workload, to_address, to_name, port, transport)
);

-- The edge in one hour, as told by one side (0 caller, 1 called). flows is the number of events that say so: when it
-- falls to 0, because the other end of all of them became known, the row goes.
CREATE TABLE edge_hour (
    hour           INTEGER NOT NULL,
    edge           INTEGER NOT NULL,
    side           INTEGER NOT NULL,
    first          INTEGER NOT NULL,
    last           INTEGER NOT NULL,
    flows          INTEGER NOT NULL,
    opened         INTEGER NOT NULL,
    refused        INTEGER NOT NULL,
    timed_out      INTEGER NOT NULL,
    bytes_sent     INTEGER NOT NULL,
    bytes_received INTEGER NOT NULL,
    PRIMARY KEY (hour, edge, side)
) WITHOUT ROWID;

CREATE TABLE finding (
    fingerprint   TEXT PRIMARY KEY,
    rule          TEXT    NOT NULL,
    severity      INTEGER NOT NULL,
    workload      INTEGER,
    state         INTEGER NOT NULL,
    subject       TEXT    NOT NULL,
    title         TEXT    NOT NULL,
    contract      TEXT    NOT NULL,
    first_seen    INTEGER,
    last_seen     INTEGER,
    state_changed INTEGER,
    count         INTEGER NOT NULL,
    note          TEXT    NOT NULL,
    body          BLOB    NOT NULL
) WITHOUT ROWID;

CREATE TABLE outbox (
    receiver     TEXT    NOT NULL,
    fingerprint  TEXT    NOT NULL,
    revision     INTEGER NOT NULL,
    next_attempt INTEGER NOT NULL,
    attempts     INTEGER NOT NULL,
    problem      TEXT    NOT NULL,
    memo         BLOB,
    PRIMARY KEY (receiver, fingerprint)
) WITHOUT ROWID;
CREATE INDEX outbox_due ON outbox (receiver, next_attempt);

-- last_id: the highest event id ever given; events: how many there are.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO meta VALUES ('last_id', 0), ('events', 0);
