// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"context"
	_ "embed" // the views
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spoor/spoor/collector/store"
)

// schemaVersion is written into the ledger. It grows with each step that migrate has to take.
const schemaVersion = 1

//go:embed views.sql
var viewsText string

// layout says how the tables are spread: on one server, or as replicas on the shards of a cluster.
type layout struct {
	database, cluster string
	// days after which the server drops events that Forget has not; 0 for never.
	days int
}

// Tables. An event goes into event, which is in front of event_local on a cluster; what is altered is the latter.
func (l *layout) local(table string) string {
	if l.cluster == "" {
		return l.table(table)
	}
	return l.table(table + "_local")
}

func (l *layout) table(name string) string { return "`" + l.database + "`." + name }

func (l *layout) onCluster() string {
	if l.cluster == "" {
		return ""
	}
	return " ON CLUSTER `" + l.cluster + "`"
}

// engine of a table with rows of its own on each shard.
func (l *layout) engine(table string) string {
	if l.cluster == "" {
		return "MergeTree"
	}
	return "ReplicatedMergeTree('/clickhouse/tables/{shard}/" + l.database + "/" + table + "', '{replica}')"
}

// ledgerEngine: the ledger is one for all shards, so its path has no {shard}.
func (l *layout) ledgerEngine() string {
	if l.cluster == "" {
		return "ReplacingMergeTree(version)"
	}
	return "ReplicatedReplacingMergeTree('/clickhouse/tables/all/" + l.database + "/ledger', '{shard}-{replica}', version)"
}

func (l *layout) ttl() string {
	if l.days == 0 {
		return ""
	}
	return "\nTTL received + toIntervalDay(" + strconv.Itoa(l.days) + ") DELETE"
}

// window is how many inserts a table remembers the tokens of. An insert that is repeated after that many others would be taken twice: at
// ten transactions a second, each with two tokens in the ledger, after more than an hour.
func window(inserts int) string {
	n := strconv.Itoa(inserts)
	return "non_replicated_deduplication_window = " + n + ", replicated_deduplication_window = " + n + ", replicated_deduplication_window_seconds = 604800"
}

const (
	eventWindow  = 10_000
	ledgerWindow = 100_000
)

// tables returns the statements that make what is missing, in order.
func (l *layout) tables() []string {
	text := strings.NewReplacer(
		"@database@", "`"+l.database+"`", "@on@", l.onCluster(), "@ttl@", l.ttl(),
		"@event@", l.local("event"), "@process@", l.local("process"), "@ledger@", l.table("ledger"), "@feed@", l.table("process_feed"),
		"@eventEngine@", l.engine("event"), "@processEngine@", l.engine("process"), "@ledgerEngine@", l.ledgerEngine(),
		"@eventWindow@", window(eventWindow), "@ledgerWindow@", window(ledgerWindow),
	).Replace
	statements := []string{text(createEvent), text(createProcess), text(createFeed), text(createLedger)}
	if l.cluster == "" {
		return statements
	}
	statements = append([]string{"CREATE DATABASE IF NOT EXISTS `" + l.database + "`" + l.onCluster()}, statements...)
	for _, table := range []string{"event", "process"} {
		// By node: what is inserted again goes to the shard that knows its token.
		statements = append(statements, fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s%s AS %s ENGINE = Distributed('%s', '%s', '%s_local', cityHash64(node))",
			l.table(table), l.onCluster(), l.local(table), l.cluster, l.database, table))
	}
	return statements
}

// An event is kept as what is asked for by, as columns, and as protobuf in three parts of which two repeat. Ids grow with the time at which
// events become durable, and so does received: neighbours in the table are neighbours in time.
const createEvent = `CREATE TABLE IF NOT EXISTS @event@@on@ (
    id UInt64 CODEC(Delta, ZSTD(1)),
    txn UInt64 COMMENT 'transaction: see the ledger' CODEC(Delta, ZSTD(1)),
    received DateTime CODEC(Delta, ZSTD(1)),
    time Int64 COMMENT 'nanoseconds since 1970' CODEC(Delta, ZSTD(1)),
    kind UInt8 CODEC(ZSTD(1)),
    cluster LowCardinality(String) CODEC(ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    epoch LowCardinality(String) CODEC(ZSTD(1)),
    sequence UInt64 CODEC(Delta, ZSTD(1)),
    has UInt8 COMMENT 'bits: process, instance, workload, peer workload' CODEC(ZSTD(1)),
    workload_cluster LowCardinality(String) CODEC(ZSTD(1)),
    workload_namespace LowCardinality(String) CODEC(ZSTD(1)),
    workload_kind LowCardinality(String) CODEC(ZSTD(1)),
    workload_name LowCardinality(String) CODEC(ZSTD(1)),
    instance_id LowCardinality(String) CODEC(ZSTD(1)),
    pod LowCardinality(String) CODEC(ZSTD(1)),
    container LowCardinality(String) CODEC(ZSTD(1)),
    exec_id String CODEC(ZSTD(1)),
    parent_exec_id String CODEC(ZSTD(1)),
    tgid UInt32 CODEC(ZSTD(1)),
    comm LowCardinality(String) CODEC(ZSTD(1)),
    exe LowCardinality(String) CODEC(ZSTD(1)),
    path String CODEC(ZSTD(1)),
    target_path String CODEC(ZSTD(1)),
    storage_class UInt8 CODEC(ZSTD(1)),
    fs_type LowCardinality(String) CODEC(ZSTD(1)),
    transport UInt8 CODEC(ZSTD(1)),
    direction UInt8 CODEC(ZSTD(1)),
    local_address String CODEC(ZSTD(1)),
    local_port UInt32 CODEC(ZSTD(1)),
    peer_address String CODEC(ZSTD(1)),
    peer_port UInt32 CODEC(ZSTD(1)),
    peer_dns_name String CODEC(ZSTD(1)),
    peer_cluster LowCardinality(String) CODEC(ZSTD(1)),
    peer_namespace LowCardinality(String) CODEC(ZSTD(1)),
    peer_kind LowCardinality(String) CODEC(ZSTD(1)),
    peer_name LowCardinality(String) CODEC(ZSTD(1)),
    peer_exec_id String CODEC(ZSTD(1)),
    source LowCardinality(String) CODEC(ZSTD(1)),
    reason LowCardinality(String) CODEC(ZSTD(1)),
    numbers Array(UInt64) COMMENT 'what they mean depends on kind' CODEC(ZSTD(1)),
    process String CODEC(ZSTD(3)),
    instance String CODEC(ZSTD(3)),
    fact String CODEC(ZSTD(3)),
    INDEX by_time time TYPE minmax GRANULARITY 1,
    INDEX by_kind kind TYPE set(16) GRANULARITY 1,
    INDEX by_workload workload_name TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_node node TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_exec_id exec_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_local local_address TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_peer peer_address TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = @eventEngine@
PARTITION BY toYYYYMMDD(received)
ORDER BY id@ttl@
SETTINGS @eventWindow@, ttl_only_drop_parts = 1`

// What a process tree needs, of each process once a transaction: the view below fills it from what is inserted into event.
const createProcess = `CREATE TABLE IF NOT EXISTS @process@@on@ (
    exec_id String CODEC(ZSTD(1)),
    parent_exec_id String CODEC(ZSTD(1)),
    txn UInt64 CODEC(ZSTD(1)),
    received DateTime CODEC(ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    cluster LowCardinality(String) CODEC(ZSTD(1)),
    has UInt8 CODEC(ZSTD(1)),
    process String CODEC(ZSTD(3)),
    instance String CODEC(ZSTD(3)),
    first UInt64 COMMENT 'the lowest event id' CODEC(ZSTD(1)),
    exited UInt8 CODEC(ZSTD(1)),
    exit_time Int64 CODEC(ZSTD(1)),
    exit_code UInt32 CODEC(ZSTD(1)),
    exit_signal UInt32 CODEC(ZSTD(1)),
    PROJECTION by_parent (SELECT parent_exec_id, exec_id, txn, first ORDER BY parent_exec_id)
) ENGINE = @processEngine@
PARTITION BY toYYYYMMDD(received)
ORDER BY (exec_id, txn)@ttl@
SETTINGS @eventWindow@, ttl_only_drop_parts = 1`

const createFeed = `CREATE MATERIALIZED VIEW IF NOT EXISTS @feed@@on@ TO @process@ AS
SELECT exec_id, parent_exec_id, txn, max(received) AS received, node, cluster, has, process, instance, min(id) AS first,
    max(kind = 2) AS exited, argMaxIf(time, id, kind = 2) AS exit_time,
    toUInt32(argMaxIf(numbers[1], id, kind = 2)) AS exit_code, toUInt32(argMaxIf(numbers[2], id, kind = 2)) AS exit_signal
FROM @event@
WHERE exec_id != ''
GROUP BY exec_id, parent_exec_id, txn, node, cluster, has, process, instance`

// The ledger has everything that is not an event, so that one insert of one block, which happens wholly or not at all, is a commit. What the
// columns mean depends on kind: see ledger.go.
const createLedger = `CREATE TABLE IF NOT EXISTS @ledger@@on@ (
    kind LowCardinality(String),
    key String CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    expires DateTime CODEC(ZSTD(1)),
    txn UInt64 CODEC(ZSTD(1)),
    first UInt64 CODEC(ZSTD(1)),
    last UInt64 CODEC(ZSTD(1)),
    time Int64 CODEC(ZSTD(1)),
    until Int64 CODEC(ZSTD(1)),
    label String CODEC(ZSTD(1)),
    numbers Array(Int64) CODEC(ZSTD(1)),
    body String CODEC(ZSTD(1)),
    doc String COMMENT 'JSON, for people' CODEC(ZSTD(1))
) ENGINE = @ledgerEngine@
ORDER BY (kind, key)
TTL expires DELETE
SETTINGS @ledgerWindow@`

// Schema returns the statements that Open runs to make what is missing, in order: for who wants to read them first.
func Schema(a *Address, retention time.Duration) []string {
	l := layout{database: a.Database, cluster: a.Cluster, days: days(retention)}
	return append(l.tables(), l.views()...)
}

func (l *layout) views() []string {
	var all []string
	text := strings.NewReplacer("@database@", "`"+l.database+"`", "@on@", l.onCluster()).Replace(viewsText)
	for view := range strings.SplitSeq(text, ";\n") {
		if view = uncommented(view); view != "" {
			all = append(all, view)
		}
	}
	return all
}

// migrate makes what is missing, and refuses what a newer version made.
func (s *Store) migrate(ctx context.Context) error {
	with := settings{"mutations_sync": "2", "distributed_ddl_output_mode": "none_only_active"}
	if s.layout.cluster == "" {
		delete(with, "distributed_ddl_output_mode")
	}
	// A newer version may have made other tables: it is asked before anything is made.
	d, err := s.client.query(ctx, "SELECT toUInt64(count()) FROM system.tables WHERE database = "+quote(s.layout.database)+" AND name = 'ledger'")
	if err != nil {
		return err
	}
	if d.u64() > 0 {
		if d, err = s.client.query(ctx, "SELECT max(version) FROM "+s.ledger()+" WHERE kind = 'schema'"); err != nil {
			return err
		}
		if have := d.u64(); have > schemaVersion {
			return fmt.Errorf("%w: its schema is %d, this version knows up to %d: run the newer version, or choose another database", store.ErrNewerSchema, have, schemaVersion)
		}
	}
	for _, statement := range s.layout.tables() {
		if err := s.client.exec(ctx, statement, with); err != nil {
			return fmt.Errorf("make the tables: %w", err)
		}
	}
	if err := s.expire(ctx, with); err != nil {
		return err
	}
	for _, statement := range s.layout.views() {
		if err := s.client.exec(ctx, statement, with); err != nil {
			return fmt.Errorf("make the views: %w", err)
		}
	}
	e := &ledgerRows{}
	e.add(ledgerRow{kind: "schema", key: "version", version: schemaVersion})
	return s.insertLedger(ctx, "schema/"+strconv.Itoa(schemaVersion), e)
}

// expire gives tables that are there already the retention of now.
func (s *Store) expire(ctx context.Context, with settings) error {
	for _, table := range []string{"event", "process"} {
		change := "REMOVE TTL"
		d, err := s.client.query(ctx, "SELECT create_table_query FROM system.tables WHERE database = "+quote(s.layout.database)+
			" AND name = "+quote(strings.Trim(strings.TrimPrefix(s.layout.local(table), s.layout.table("")), "`")))
		if err != nil {
			return err
		}
		has := d.text()
		if s.layout.days > 0 {
			change = "MODIFY TTL received + toIntervalDay(" + strconv.Itoa(s.layout.days) + ") DELETE"
			if strings.Contains(has, "toIntervalDay("+strconv.Itoa(s.layout.days)+")") {
				continue
			}
		} else if !strings.Contains(has, "toIntervalDay(") {
			continue
		}
		if err := s.client.exec(ctx, "ALTER TABLE "+s.layout.local(table)+s.layout.onCluster()+" "+change+" SETTINGS materialize_ttl_after_modify = 0", with); err != nil {
			return fmt.Errorf("change how long %ss are kept: %w", table, err)
		}
	}
	return nil
}

// uncommented returns a statement without the comments and the space around it.
func uncommented(s string) string {
	for {
		s = strings.TrimSpace(s)
		rest, ok := strings.CutPrefix(s, "--")
		if !ok {
			return strings.TrimSuffix(s, ";")
		}
		_, s, _ = strings.Cut(rest, "\n")
	}
}
