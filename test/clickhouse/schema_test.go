// SPDX-License-Identifier: Apache-2.0

package clickhouse_test

import (
	"strings"
	"testing"
	"time"

	"github.com/spoor/spoor/collector/store/clickhouse"
)

// TestReplicatedSchema has the engine read what is said to a cluster. It has no Keeper, so it cannot do it.
func TestReplicatedSchema(t *testing.T) {
	a := &clickhouse.Address{Database: "spoor", Cluster: "fleet"}
	schema := clickhouse.Schema(a, 30*24*time.Hour)
	for _, statement := range schema {
		tree, err := shared.Do(t.Context(), "EXPLAIN AST "+statement)
		if err != nil {
			t.Errorf("%v\n%s", err, statement)
			continue
		}
		if !strings.Contains(statement, " ON CLUSTER `fleet`") {
			t.Errorf("only one server is told:\n%s", statement)
		}
		if strings.Contains(statement, "ENGINE") && !strings.Contains(tree, "Storage definition") && !strings.Contains(tree, "Function Replicated") {
			t.Errorf("no engine is in\n%s", tree)
		}
	}
	all := strings.Join(schema, "\n")
	for _, part := range []string{
		"CREATE DATABASE IF NOT EXISTS `spoor`", "ReplicatedMergeTree('/clickhouse/tables/{shard}/spoor/event', '{replica}')",
		"ReplicatedReplacingMergeTree('/clickhouse/tables/all/spoor/ledger', '{shard}-{replica}', version)",
		"Distributed('fleet', 'spoor', 'event_local', cityHash64(node))", "toIntervalDay(31)",
	} {
		if !strings.Contains(all, part) {
			t.Errorf("%s is not in the schema", part)
		}
	}
}
