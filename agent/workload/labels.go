// SPDX-License-Identifier: Apache-2.0

package workload

import spoorv1 "github.com/spoor/spoor/api/spoor/v1"

// Labels are what is kept of the labels of a pod or container. The zero value says that nobody told of any.
type Labels struct {
	Kept map[string]string
	// How many more there are.
	LeftOut uint32
	Known   bool
}

// LabelsOf keeps what is to be kept of labels; nil are none.
func LabelsOf(all map[string]string) Labels {
	kept, leftOut := spoorv1.KeepLabels(all)
	return Labels{kept, leftOut, true}
}

// AddLabels tells of a pod's labels, as the API server has them.
func (d *Directory) AddLabels(podUID string, l Labels) {
	if podUID == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.labels.Add(podUID, l)
}

// labelsOf returns the labels of a pod: those that the API server told, else those that its runtime had when it was made.
func (d *Directory) labelsOf(p *Pod) Labels {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l, ok := d.labels.Get(p.UID); ok {
		return l
	}
	return p.Labels
}

// write puts the labels into an instance that has none yet.
func (l Labels) write(in *spoorv1.Instance) {
	in.Labels, in.LabelsKnown, in.LabelsLeftOut = l.Kept, l.Known, l.LeftOut
}
