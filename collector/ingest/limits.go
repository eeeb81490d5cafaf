// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"errors"
	"fmt"
)

// Limits bound what agents take of a collector. Who exceeds one is not read from until there is room or time again: HTTP/2's flow
// control then makes the agent wait, and it keeps its events meanwhile. Only a message that is too large is refused. The zero
// value of a field takes the default that stands beside it.
type Limits struct {
	// Bytes of one message, uncompressed: 16 MiB.
	MessageBytes int64
	// Records a second of one node on average, 20,000, and how many it may send at once after a pause, 400,000.
	RecordsPerSecond, Burst int
	// Bytes of batches that are not durable yet, as they came: of one node 32 MiB, of all nodes together 256 MiB. A batch takes
	// about three times as much memory while it waits.
	NodeBytes, TotalBytes int64
}

// MinRecordsPerSecond is the least that Limits.RecordsPerSecond may be: an agent has up to 16 batches of 2,000 records under way,
// and breaks a stream on which nothing was acknowledged for 30 seconds.
const MinRecordsPerSecond = 2000

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		field *int64
		value int64
	}{{&l.MessageBytes, 16 << 20}, {&l.NodeBytes, 32 << 20}, {&l.TotalBytes, 256 << 20}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if l.RecordsPerSecond == 0 {
		l.RecordsPerSecond = 20_000
	}
	if l.Burst == 0 {
		l.Burst = 20 * l.RecordsPerSecond
	}
	return l
}

// Validate says which limits cannot hold together.
func (l Limits) Validate() error {
	l = l.withDefaults()
	var errs []error
	const leastMessage, mostMessage = 64 << 10, 1 << 30
	if l.MessageBytes < leastMessage || l.MessageBytes > mostMessage {
		errs = append(errs, fmt.Errorf("one message may take %d bytes: it must be between 64 KiB, or no batch fits, and 1 GiB", l.MessageBytes))
	}
	if l.RecordsPerSecond < MinRecordsPerSecond {
		errs = append(errs, fmt.Errorf("a node may send %d records a second: below %d an agent would take the collector for dead now and then", l.RecordsPerSecond, MinRecordsPerSecond))
	}
	if l.Burst < l.RecordsPerSecond {
		errs = append(errs, fmt.Errorf("a node may send %d records at once: that is less than a second of its %d records a second", l.Burst, l.RecordsPerSecond))
	}
	if l.NodeBytes < l.MessageBytes {
		errs = append(errs, fmt.Errorf("batches of one node may take %d bytes, less than one message of %d bytes", l.NodeBytes, l.MessageBytes))
	}
	if l.TotalBytes < l.NodeBytes {
		errs = append(errs, fmt.Errorf("batches of all nodes may take %d bytes, less than the %d bytes of one node", l.TotalBytes, l.NodeBytes))
	}
	return errors.Join(errs...)
}
