-- SPDX-License-Identifier: Apache-2.0
--
-- What people query. Names and meanings are those of the views of the SQLite store, as far as it has them too. Times are text in UTC
-- (2006-01-02T15:04:05.999999999Z), so they compare as text; *_unix_nano are the same as integers, and what tables are looked up by.

-- Rows of event that count.
CREATE OR REPLACE VIEW @database@.committed_event@on@ AS
SELECT * FROM @database@.event
WHERE txn NOT IN (SELECT txn FROM @database@.ledger WHERE kind = 'aborted')
    AND txn NOT IN (SELECT txn FROM @database@.ledger WHERE kind IN ('begin', 'outcome') GROUP BY txn HAVING countIf(kind = 'outcome') = 0);

CREATE OR REPLACE VIEW @database@.events@on@ AS
SELECT id, replaceOne(toString(fromUnixTimestamp64Nano(time, 'UTC')), ' ', 'T') || 'Z' AS time, e.time AS time_unix_nano,
    transform(e.kind, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        ['process_start', 'process_exit', 'file_write', 'file_change', 'flow', 'listen', 'dns', 'share', 'loss', 'coverage'], 'unknown') AS kind,
    cluster, node, epoch, sequence, workload_namespace AS namespace, workload_kind, workload_name AS workload, instance_id AS instance, pod, container,
    exec_id, tgid, comm, exe, path, if(peer_address != '', peer_address, local_address) AS address, if(peer_port != 0, peer_port, local_port) AS port
FROM @database@.committed_event AS e;

CREATE OR REPLACE VIEW @database@.processes@on@ AS
SELECT exec_id, parent_exec_id, cluster, node, workload_namespace AS namespace, workload_kind, workload_name AS workload, instance_id AS instance,
    tgid, comm, exe, min(id) AS first_event, max(id) AS last_event,
    if(max(kind = 2), replaceOne(toString(fromUnixTimestamp64Nano(maxIf(time, kind = 2), 'UTC')), ' ', 'T') || 'Z', '') AS exit_time,
    maxIf(numbers[1], kind = 2) AS exit_code, maxIf(numbers[2], kind = 2) AS exit_signal
FROM @database@.committed_event
WHERE exec_id != ''
GROUP BY exec_id, parent_exec_id, cluster, node, namespace, workload_kind, workload, instance, tgid, comm, exe;

-- The other end as it is known now, not as it was when the event came.
CREATE OR REPLACE VIEW @database@.flows@on@ AS
SELECT e.id AS id, replaceOne(toString(fromUnixTimestamp64Nano(e.time, 'UTC')), ' ', 'T') || 'Z' AS time, e.time AS time_unix_nano,
    cluster, node, workload_namespace AS namespace, workload_kind, workload_name AS workload, instance_id AS instance, exec_id, comm,
    transform(transport, [1, 2, 3, 4, 5, 6], ['tcp', 'udp', 'sctp', 'unix', 'raw', 'packet'], '') AS transport,
    transform(direction, [1, 2], ['outbound', 'inbound'], '') AS direction,
    local_address, local_port, peer_address, peer_port, peer_dns_name,
    if(n.doc != '', JSONExtractString(n.doc, 'workload', 2), peer_namespace) AS peer_namespace,
    if(n.doc != '', JSONExtractString(n.doc, 'workload', 3), peer_kind) AS peer_workload_kind,
    if(n.doc != '', JSONExtractString(n.doc, 'workload', 4), peer_name) AS peer_workload,
    if(n.doc != '', JSONExtractString(n.doc, 'exec_id'), peer_exec_id) AS peer_exec_id,
    numbers[1] AS opened, numbers[2] AS closed, numbers[3] AS refused, numbers[4] AS timed_out, numbers[5] AS bytes_sent, numbers[6] AS bytes_received
FROM @database@.committed_event AS e
LEFT ANY JOIN (SELECT reinterpretAsUInt64(reverse(unhex(key))) AS id, argMax(doc, version) AS doc FROM @database@.ledger WHERE kind = 'name' GROUP BY id) AS n ON n.id = e.id
WHERE e.kind = 5;

CREATE OR REPLACE VIEW @database@.file_writes@on@ AS
SELECT id, replaceOne(toString(fromUnixTimestamp64Nano(e.time, 'UTC')), ' ', 'T') || 'Z' AS time, e.time AS time_unix_nano,
    cluster, node, workload_namespace AS namespace, workload_kind, workload_name AS workload, instance_id AS instance, exec_id, comm, path,
    transform(e.storage_class, [1, 2, 3, 4, 5, 6, 7],
        ['writable-layer', 'ephemeral-volume', 'persistent-volume', 'host-path', 'tmpfs', 'config', 'host'], '') AS storage_class,
    fs_type, numbers[5] AS dev, numbers[6] AS inode, numbers[1] AS changes, numbers[2] AS size_before, numbers[3] AS size_after, numbers[4] AS data
FROM @database@.committed_event AS e
WHERE e.kind = 3;

CREATE OR REPLACE VIEW @database@.file_changes@on@ AS
SELECT id, replaceOne(toString(fromUnixTimestamp64Nano(e.time, 'UTC')), ' ', 'T') || 'Z' AS time, e.time AS time_unix_nano,
    cluster, node, workload_namespace AS namespace, workload_kind, workload_name AS workload, instance_id AS instance, exec_id, comm,
    transform(numbers[1], [1, 2, 3, 4, 5], ['create', 'rename', 'link', 'unlink', 'attributes'], '') AS operation,
    path, target_path, numbers[2] AS merged, numbers[3] AS dev, numbers[4] AS inode
FROM @database@.committed_event AS e
WHERE e.kind = 4;

CREATE OR REPLACE VIEW @database@.listens@on@ AS
SELECT id, replaceOne(toString(fromUnixTimestamp64Nano(e.time, 'UTC')), ' ', 'T') || 'Z' AS time, e.time AS time_unix_nano,
    cluster, node, workload_namespace AS namespace, workload_kind, workload_name AS workload, instance_id AS instance, exec_id, comm,
    transform(e.transport, [1, 2, 3, 4, 5, 6], ['tcp', 'udp', 'sctp', 'unix', 'raw', 'packet'], '') AS transport,
    local_address AS address, local_port AS port, numbers[1] AS closed
FROM @database@.committed_event AS e
WHERE e.kind = 6;

CREATE OR REPLACE VIEW @database@.losses@on@ AS
SELECT id, replaceOne(toString(fromUnixTimestamp64Nano(e.time, 'UTC')), ' ', 'T') || 'Z' AS time, e.time AS time_unix_nano,
    cluster, node, workload_namespace AS namespace, workload_kind, workload_name AS workload, source, reason, numbers[1] AS count
FROM @database@.committed_event AS e
WHERE e.kind = 9;

CREATE OR REPLACE VIEW @database@.findings@on@ AS
SELECT substring(key, 1, 10) AS id, label AS rule,
    transform(JSONExtractInt(doc, 'severity'), [1, 2, 3, 4, 5], ['info', 'low', 'medium', 'high', 'critical'], '') AS severity,
    transform(first, [1, 2, 3, 4], ['open', 'acknowledged', 'resolved', 'expired'], '') AS state,
    JSONExtractString(doc, 'workload', 1) AS cluster, JSONExtractString(doc, 'workload', 2) AS namespace,
    JSONExtractString(doc, 'workload', 3) AS workload_kind, JSONExtractString(doc, 'workload', 4) AS workload,
    JSONExtractString(doc, 'subject') AS subject, JSONExtractString(doc, 'title') AS title, JSONExtractString(doc, 'contract') AS contract,
    JSONExtractUInt(doc, 'count') AS count,
    replaceOne(toString(fromUnixTimestamp64Nano(JSONExtractInt(doc, 'first_seen'), 'UTC')), ' ', 'T') || 'Z' AS first_seen,
    replaceOne(toString(fromUnixTimestamp64Nano(JSONExtractInt(doc, 'last_seen'), 'UTC')), ' ', 'T') || 'Z' AS last_seen,
    JSONExtractString(doc, 'note') AS note, key AS fingerprint
FROM @database@.ledger FINAL
WHERE kind = 'finding';

-- Who talks to whom in each hour, as each side tells it.
CREATE OR REPLACE VIEW @database@.edges@on@ AS
SELECT formatDateTime(fromUnixTimestamp64Second(toInt64(bitXor(reinterpretAsUInt64(reverse(unhex(substring(key, 1, 16)))), 9223372036854775808)) * 3600, 'UTC'), '%Y-%m-%dT%H:%i:%SZ') AS hour,
    if(l.first = 0, 'caller', 'called') AS seen_by,
    JSONExtractString(label, 'from', 1) AS from_cluster, JSONExtractString(label, 'from', 2) AS from_namespace,
    JSONExtractString(label, 'from', 3) AS from_kind, JSONExtractString(label, 'from', 4) AS from_workload, JSONExtractString(label, 'from_address') AS from_address,
    JSONExtractString(label, 'to', 1) AS to_cluster, JSONExtractString(label, 'to', 2) AS to_namespace,
    JSONExtractString(label, 'to', 3) AS to_kind, JSONExtractString(label, 'to', 4) AS to_workload, JSONExtractString(label, 'to_address') AS to_address,
    JSONExtractString(label, 'to_dns_name') AS to_dns_name, JSONExtractUInt(label, 'port') AS port,
    transform(JSONExtractUInt(label, 'transport'), [1, 2, 3, 4, 5, 6], ['tcp', 'udp', 'sctp', 'unix', 'raw', 'packet'], '') AS transport,
    sum(numbers[2]) AS opened, sum(numbers[3]) AS refused, sum(numbers[4]) AS timed_out, sum(numbers[5]) AS bytes_sent, sum(numbers[6]) AS bytes_received,
    sum(numbers[1]) AS flows,
    replaceOne(toString(fromUnixTimestamp64Nano(min(time), 'UTC')), ' ', 'T') || 'Z' AS first_seen,
    replaceOne(toString(fromUnixTimestamp64Nano(max(until), 'UTC')), ' ', 'T') || 'Z' AS last_seen
FROM @database@.ledger AS l FINAL
WHERE kind = 'edge_hour'
GROUP BY hour, seen_by, label
HAVING flows > 0;
