// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"
	"maps"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// A pod has the labels that its runtime tells, until the API server tells others; both do without those of one revision.
func TestLabels(t *testing.T) {
	w := newWorld(t)
	c := deployment(1, podA)
	c.Pod.Labels = LabelsOf(map[string]string{"app": "checkout", "pod-template-hash": "1"})
	w.d.AddContainer(c)
	w.Learn(10, "/kubepods/pod"+podA+"/"+id(1), time.Time{})
	if p := w.Of(10, 0, false).Proto(); !maps.Equal(p.GetLabels(), map[string]string{"app": "checkout"}) || !p.GetLabelsKnown() {
		t.Errorf("the instance is %v", p)
	}
	w.d.AddLabels(podA, LabelsOf(map[string]string{"app": "checkout", "tier": "front"}))
	w.d.AddContainer(deployment(2, podA))
	w.Learn(11, "/kubepods/pod"+podA+"/"+id(2), time.Time{})
	if p := w.Of(11, 0, false).Proto(); !maps.Equal(p.GetLabels(), map[string]string{"app": "checkout", "tier": "front"}) {
		t.Errorf("the instance is %v", p)
	}
	// No labels, and labels that nobody told of, are two things.
	none := deployment(3, podB)
	none.Pod.Labels = LabelsOf(nil)
	w.d.AddContainer(none)
	w.Learn(12, "/kubepods/pod"+podB+"/"+id(3), time.Time{})
	w.d.AddContainer(Container{ID: id(4), Name: "untold"})
	w.Learn(13, "/docker/"+id(4), time.Time{})
	for key, known := range map[uint64]bool{12: true, 13: false} {
		if p := w.Of(key, 0, false).Proto(); len(p.GetLabels()) > 0 || p.GetLabelsKnown() != known {
			t.Errorf("the instance is %v", p)
		}
	}
	many := map[string]string{}
	for i := range 40 {
		many[fmt.Sprint("key-", i)] = "x"
	}
	w.d.AddContainer(Container{ID: id(5), Name: "many", Labels: LabelsOf(many)})
	w.Learn(14, "/docker/"+id(5), time.Time{})
	if p := w.Of(14, 0, false).Proto(); len(p.GetLabels()) != spoorv1.MaxLabels || p.GetLabelsLeftOut() != 40-spoorv1.MaxLabels {
		t.Errorf("the instance is %v", p)
	}
}
