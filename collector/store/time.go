// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// Nanos is a time as stores keep it, in nanoseconds of Unix time. Years before 1678 and after 2262 do not fit; ingest refuses far less.
func Nanos(ts *timestamppb.Timestamp) (int64, error) {
	s, n := ts.GetSeconds(), int64(ts.GetNanos())
	if n < 0 || n >= 1e9 || s <= math.MinInt64/int64(1e9) || s >= math.MaxInt64/int64(1e9) {
		return 0, fmt.Errorf("time %d.%09d cannot be stored", s, n)
	}
	return s*1e9 + n, nil
}

// Between is the interval [from, to) in nanoseconds of Unix time. A zero time is no bound.
func Between(from, to time.Time) (low, high int64) {
	low, high = math.MinInt64, math.MaxInt64
	if !from.IsZero() {
		low = from.UnixNano()
	}
	if !to.IsZero() {
		high = to.UnixNano()
	}
	return low, high
}

// FloorDiv is a / b, rounded down: the hour, minute or day that a time before 1970 lies in, too. b is positive.
func FloorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
