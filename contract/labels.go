// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"maps"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Labels is what is known of the labels of a workload. The zero value knows nothing.
type Labels struct {
	values map[string]string
	// It has no others.
	all bool
}

// LabelsOf returns what an instance says of the labels of its workload.
func LabelsOf(in *spoorv1.Instance) Labels {
	return Labels{in.GetLabels(), in.GetLabelsKnown() && in.GetLabelsLeftOut() == 0}
}

// answered is whether a contract selects a workload. The least of several answers is that to all of them.
type answered int

const (
	never answered = iota
	// It depends on a label that is not known.
	perhaps
	always
)

// labelled follows the labels of a workload: those that its newest instance has, of the instances whose labels were told. During a
// rollout that changes them they change once.
type labelled struct {
	Labels
	since time.Time
	told  bool
	// The instance that spoke last, to know it again at once.
	last *spoorv1.Instance `snapshot:"-"`
}

// note takes what an instance says, and says whether that is something else than before.
func (l *labelled) note(in *spoorv1.Instance) bool {
	if in == l.last {
		return false
	}
	l.last = in
	since := timeOr(in.GetStartTime(), time.Time{})
	if !in.GetLabelsKnown() || l.told && since.Before(l.since) {
		return false
	}
	now := LabelsOf(in)
	changed := !l.told || now.all != l.all || !maps.Equal(now.values, l.values)
	l.since, l.told = since, true
	if changed {
		l.Labels = now
	}
	return changed
}
