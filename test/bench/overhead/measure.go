// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// state is whether the agent runs.
type state int

const (
	off state = iota
	on
)

func (s state) String() string {
	if s == on {
		return "on"
	}
	return "off"
}

// samples are the nanoseconds of one operation, a slice each.
type samples [2][]float64

// plan says how much is measured.
type plan struct {
	// rounds have both states once; in each, every operation has slices of a length.
	rounds, slices int
	length         time.Duration
}

// agent can be started and stopped; start returns when it watches, stop when nothing of it is left.
type agent interface {
	start(context.Context) error
	stop() error
}

// measure fills in the samples of each operation.
func measure(ctx context.Context, p plan, a agent, ops []*operation, progress func(string)) ([]samples, error) {
	counts := make([]int, len(ops))
	for i, op := range ops {
		n, err := calibrate(op, p.length)
		if err != nil {
			return nil, err
		}
		counts[i] = n
	}
	result := make([]samples, len(ops))
	for round := range p.rounds {
		order := []state{off, on}
		if round%2 == 1 {
			// What drifts with time must not favour one of the two.
			slices.Reverse(order)
		}
		for _, s := range order {
			progress(fmt.Sprintf("round %d of %d: agent %v", round+1, p.rounds, s))
			if err := measureState(ctx, p, a, s, ops, counts, result); err != nil {
				return nil, fmt.Errorf("round %d: %w", round+1, err)
			}
		}
	}
	return result, nil
}

func measureState(ctx context.Context, p plan, a agent, s state, ops []*operation, counts []int, result []samples) (err error) {
	if s == on {
		if err := elsewhere(func() error { return a.start(ctx) }); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, elsewhere(a.stop)) }()
	}
	for range p.slices {
		for i, op := range ops {
			if err := ctx.Err(); err != nil {
				return err
			}
			ns, err := op.timed(counts[i])
			if err != nil {
				return err
			}
			result[i][s] = append(result[i][s], ns)
		}
	}
	return nil
}

// elsewhere calls f on another thread than this one, which may be bound to a CPU: what f starts must not be.
func elsewhere(f func() error) error {
	done := make(chan error)
	go func() { done <- f() }()
	return <-done
}

// calibrate returns how often an operation is to be done in a slice of a length; it warms up by the way.
func calibrate(op *operation, length time.Duration) (int, error) {
	for n := 1; ; n *= 2 {
		ns, err := op.timed(n)
		if err != nil {
			return 0, err
		}
		if took := time.Duration(ns * float64(n)); took >= length/2 {
			return max(1, int(float64(length.Nanoseconds())/ns)), nil
		}
	}
}

// smallest and median are of at least one value.
func smallest(values []float64) float64 { return slices.Min(values) }

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
