-- SPDX-License-Identifier: Apache-2.0
--
-- What people query. Names and meanings stay; tables may change. Times are text in UTC (2006-01-02T15:04:05.999999999Z),
-- so they compare as text; *_unix_nano are the same as integers. A column that is not selected costs nothing.

CREATE VIEW events AS
SELECT e.id,
    strftime('%Y-%m-%dT%H:%M:%S', e.time / 1000000000, 'unixepoch') || printf('.%09dZ', e.time % 1000000000) AS time,
    e.time AS time_unix_nano,
    CASE e.kind WHEN 1 THEN 'process_start' WHEN 2 THEN 'process_exit' WHEN 3 THEN 'file_write' WHEN 4 THEN 'file_change'
        WHEN 5 THEN 'flow' WHEN 6 THEN 'listen' WHEN 7 THEN 'dns' WHEN 8 THEN 'share' WHEN 9 THEN 'loss'
        WHEN 10 THEN 'coverage' ELSE 'unknown' END AS kind,
    n.cluster, n.name AS node, r.epoch, e.sequence,
    w.namespace, w.kind AS workload_kind, w.name AS workload, i.instance, i.pod_name AS pod, i.container_name AS container,
    p.exec_id, p.tgid, comm.text AS comm, exe.text AS exe,
    d.text || f.name AS path,
    coalesce(nullif(o.text, ''), l.text) AS address, coalesce(nullif(a.peer_port, 0), a.local_port) AS port
FROM event e
    JOIN run r ON r.id = e.run JOIN node n ON n.id = r.node
    LEFT JOIN instance i ON i.id = e.instance LEFT JOIN workload w ON w.id = i.workload
    LEFT JOIN process p ON p.id = e.process LEFT JOIN string comm ON comm.id = p.comm LEFT JOIN string exe ON exe.id = p.exe
    LEFT JOIN file f ON f.id = e.file LEFT JOIN string d ON d.id = f.dir
    LEFT JOIN peer a ON a.id = e.peer LEFT JOIN string o ON o.id = a.peer_address LEFT JOIN string l ON l.id = a.local_address;

-- One row for each version of a process that agents reported. args is a JSON array.
CREATE VIEW processes AS
SELECT p.exec_id, p.parent_exec_id, n.cluster, n.name AS node, w.namespace, w.kind AS workload_kind, w.name AS workload, i.instance,
    p.tgid, p.parent_tgid, comm.text AS comm, exe.text AS exe, p.args, cwd.text AS cwd, c.uid, c.gid,
    strftime('%Y-%m-%dT%H:%M:%S', p.start_time / 1000000000, 'unixepoch') || printf('.%09dZ', p.start_time % 1000000000) AS start_time,
    strftime('%Y-%m-%dT%H:%M:%S', p.exit_time / 1000000000, 'unixepoch') || printf('.%09dZ', p.exit_time % 1000000000) AS exit_time,
    p.exit_code, p.exit_signal, c.pid_ns, c.mnt_ns, c.net_ns, c.cap_effective, p.first_event
FROM process p
    JOIN node n ON n.id = p.node
    LEFT JOIN instance i ON i.id = p.instance LEFT JOIN workload w ON w.id = i.workload
    JOIN context c ON c.id = p.context JOIN string cwd ON cwd.id = c.cwd
    JOIN string comm ON comm.id = p.comm JOIN string exe ON exe.id = p.exe;

CREATE VIEW flows AS
SELECT e.id,
    strftime('%Y-%m-%dT%H:%M:%S', e.time / 1000000000, 'unixepoch') || printf('.%09dZ', e.time % 1000000000) AS time,
    e.time AS time_unix_nano, n.cluster, n.name AS node, w.namespace, w.kind AS workload_kind, w.name AS workload, i.instance,
    p.exec_id, comm.text AS comm,
    CASE a.transport WHEN 1 THEN 'tcp' WHEN 2 THEN 'udp' WHEN 3 THEN 'sctp' WHEN 4 THEN 'unix' ELSE '' END AS transport,
    CASE a.direction WHEN 1 THEN 'outbound' WHEN 2 THEN 'inbound' ELSE '' END AS direction,
    l.text AS local_address, a.local_port, o.text AS peer_address, a.peer_port, dns.text AS peer_dns_name,
    pw.namespace AS peer_namespace, pw.kind AS peer_workload_kind, pw.name AS peer_workload, y.exec_id AS peer_exec_id,
    e.a AS opened, e.b AS closed, e.c AS refused, e.d AS timed_out, e.e AS bytes_sent, e.f AS bytes_received
FROM event e
    JOIN run r ON r.id = e.run JOIN node n ON n.id = r.node
    LEFT JOIN instance i ON i.id = e.instance LEFT JOIN workload w ON w.id = i.workload
    LEFT JOIN process p ON p.id = e.process LEFT JOIN string comm ON comm.id = p.comm
    LEFT JOIN peer a ON a.id = e.peer LEFT JOIN string l ON l.id = a.local_address LEFT JOIN string o ON o.id = a.peer_address
    LEFT JOIN string dns ON dns.id = a.dns_name
    LEFT JOIN party y ON y.id = e.other LEFT JOIN workload pw ON pw.id = y.workload
WHERE e.kind = 5;

CREATE VIEW file_writes AS
SELECT e.id,
    strftime('%Y-%m-%dT%H:%M:%S', e.time / 1000000000, 'unixepoch') || printf('.%09dZ', e.time % 1000000000) AS time,
    e.time AS time_unix_nano, n.cluster, n.name AS node, w.namespace, w.kind AS workload_kind, w.name AS workload, i.instance,
    p.exec_id, comm.text AS comm, d.text || f.name AS path, h.text || coalesce(f.host_name, f.name) AS host_path,
    CASE f.storage_class WHEN 1 THEN 'writable-layer' WHEN 2 THEN 'ephemeral-volume' WHEN 3 THEN 'persistent-volume'
        WHEN 4 THEN 'host-path' WHEN 5 THEN 'tmpfs' WHEN 6 THEN 'config' WHEN 7 THEN 'host' ELSE '' END AS storage_class,
    fs.text AS fs_type, f.dev, f.inode, e.a AS changes, e.b AS size_before, e.c AS size_after, e.d AS data,
    e.e & 1 AS path_truncated, e.e >> 1 & 1 AS unlinked
FROM event e
    JOIN run r ON r.id = e.run JOIN node n ON n.id = r.node
    LEFT JOIN instance i ON i.id = e.instance LEFT JOIN workload w ON w.id = i.workload
    LEFT JOIN process p ON p.id = e.process LEFT JOIN string comm ON comm.id = p.comm
    LEFT JOIN file f ON f.id = e.file LEFT JOIN string d ON d.id = f.dir LEFT JOIN string h ON h.id = f.host_dir
    LEFT JOIN string fs ON fs.id = f.fs_type
WHERE e.kind = 3;

CREATE VIEW file_changes AS
SELECT e.id,
    strftime('%Y-%m-%dT%H:%M:%S', e.time / 1000000000, 'unixepoch') || printf('.%09dZ', e.time % 1000000000) AS time,
    e.time AS time_unix_nano, n.cluster, n.name AS node, w.namespace, w.kind AS workload_kind, w.name AS workload, i.instance,
    p.exec_id, comm.text AS comm,
    CASE e.a WHEN 1 THEN 'create' WHEN 2 THEN 'rename' WHEN 3 THEN 'link' WHEN 4 THEN 'unlink' WHEN 5 THEN 'attributes' ELSE '' END AS operation,
    d.text || f.name AS path, td.text || t.name AS target_path, e.b AS merged, f.dev, f.inode
FROM event e
    JOIN run r ON r.id = e.run JOIN node n ON n.id = r.node
    LEFT JOIN instance i ON i.id = e.instance LEFT JOIN workload w ON w.id = i.workload
    LEFT JOIN process p ON p.id = e.process LEFT JOIN string comm ON comm.id = p.comm
    LEFT JOIN file f ON f.id = e.file LEFT JOIN string d ON d.id = f.dir
    LEFT JOIN file t ON t.id = e.other LEFT JOIN string td ON td.id = t.dir
WHERE e.kind = 4;

CREATE VIEW listens AS
SELECT e.id,
    strftime('%Y-%m-%dT%H:%M:%S', e.time / 1000000000, 'unixepoch') || printf('.%09dZ', e.time % 1000000000) AS time,
    e.time AS time_unix_nano, n.cluster, n.name AS node, w.namespace, w.kind AS workload_kind, w.name AS workload, i.instance,
    p.exec_id, comm.text AS comm,
    CASE a.transport WHEN 1 THEN 'tcp' WHEN 2 THEN 'udp' WHEN 3 THEN 'sctp' WHEN 4 THEN 'unix' ELSE '' END AS transport,
    l.text AS address, a.local_port AS port, e.a AS closed
FROM event e
    JOIN run r ON r.id = e.run JOIN node n ON n.id = r.node
    LEFT JOIN instance i ON i.id = e.instance LEFT JOIN workload w ON w.id = i.workload
    LEFT JOIN process p ON p.id = e.process LEFT JOIN string comm ON comm.id = p.comm
    LEFT JOIN peer a ON a.id = e.peer LEFT JOIN string l ON l.id = a.local_address
WHERE e.kind = 6;

CREATE VIEW losses AS
SELECT e.id,
    strftime('%Y-%m-%dT%H:%M:%S', e.time / 1000000000, 'unixepoch') || printf('.%09dZ', e.time % 1000000000) AS time,
    e.time AS time_unix_nano, n.cluster, n.name AS node, w.namespace, w.kind AS workload_kind, w.name AS workload,
    s.text AS source, t.text AS reason, e.c AS count
FROM event e
    JOIN run r ON r.id = e.run JOIN node n ON n.id = r.node
    LEFT JOIN instance i ON i.id = e.instance LEFT JOIN workload w ON w.id = i.workload
    JOIN string s ON s.id = e.a JOIN string t ON t.id = e.b
WHERE e.kind = 9;

CREATE VIEW findings AS
SELECT substr(f.fingerprint, 1, 10) AS id, f.rule,
    CASE f.severity WHEN 1 THEN 'info' WHEN 2 THEN 'low' WHEN 3 THEN 'medium' WHEN 4 THEN 'high' WHEN 5 THEN 'critical' ELSE '' END AS severity,
    CASE f.state WHEN 1 THEN 'open' WHEN 2 THEN 'acknowledged' WHEN 3 THEN 'resolved' WHEN 4 THEN 'expired' ELSE '' END AS state,
    w.cluster, w.namespace, w.kind AS workload_kind, w.name AS workload, f.subject, f.title, f.contract, f.count,
    strftime('%Y-%m-%dT%H:%M:%S', f.first_seen / 1000000000, 'unixepoch') || printf('.%09dZ', f.first_seen % 1000000000) AS first_seen,
    strftime('%Y-%m-%dT%H:%M:%S', f.last_seen / 1000000000, 'unixepoch') || printf('.%09dZ', f.last_seen % 1000000000) AS last_seen,
    f.note, f.fingerprint
FROM finding f LEFT JOIN workload w ON w.id = f.workload;

-- Who talks to whom in each hour, as each side tells it.
CREATE VIEW edges AS
SELECT strftime('%Y-%m-%dT%H:%M:%SZ', h.hour * 3600, 'unixepoch') AS hour,
    CASE h.side WHEN 0 THEN 'caller' ELSE 'called' END AS seen_by,
    fw.cluster AS from_cluster, fw.namespace AS from_namespace, fw.kind AS from_kind, fw.name AS from_workload, fa.text AS from_address,
    tw.cluster AS to_cluster, tw.namespace AS to_namespace, tw.kind AS to_kind, tw.name AS to_workload, ta.text AS to_address, tn.text AS to_dns_name,
    e.port, CASE e.transport WHEN 1 THEN 'tcp' WHEN 2 THEN 'udp' WHEN 3 THEN 'sctp' WHEN 4 THEN 'unix' ELSE '' END AS transport,
    h.opened, h.refused, h.timed_out, h.bytes_sent, h.bytes_received, h.flows,
    strftime('%Y-%m-%dT%H:%M:%S', h.first / 1000000000, 'unixepoch') || printf('.%09dZ', h.first % 1000000000) AS first_seen,
    strftime('%Y-%m-%dT%H:%M:%S', h.last / 1000000000, 'unixepoch') || printf('.%09dZ', h.last % 1000000000) AS last_seen
FROM edge_hour h JOIN edge e ON e.id = h.edge
    LEFT JOIN workload fw ON fw.id = e.from_workload LEFT JOIN workload tw ON tw.id = e.to_workload
    JOIN string fa ON fa.id = e.from_address JOIN string ta ON ta.id = e.to_address JOIN string tn ON tn.id = e.to_name
WHERE h.flows > 0;
