// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"time"
)

// Shared is a Store that several collectors write to at a time.
type Shared interface {
	Store
	// Begin gives ids for the events of the next Write, first and those after it, which no other collector gets, and says how far each
	// run of the batches is durable by now, whichever collector brought it there. What another collector was about to write of these runs is
	// durable by then, or never will be. A batch without events asks for its run alone. A Write that has other batches than Begin was told
	// of does the same for itself, with the ids that its events have, which must be free. Ids are never given twice, also when nothing comes
	// of the Write.
	Begin(ctx context.Context, batches []Batch) (first uint64, acknowledged map[Run]uint64, err error)
	// Others returns, in the order of their ids, events above after that other collectors have written, limit or a few less, by run; and up to
	// which id it has looked.
	Others(ctx context.Context, after uint64, limit int) (batches []Batch, through uint64, err error)
	// Attend says which nodes have a stream open to this collector now.
	Attend(ctx context.Context, nodes []Node, now time.Time) error
	// Attended says when each node was last said to have one, to whichever collector.
	Attended(ctx context.Context) (map[Node]time.Time, error)
}

// Node is a node of a cluster.
type Node struct {
	Cluster, Name string
}
