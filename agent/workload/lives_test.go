// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"testing"
	"time"
)

// What was named keeps its name when its pod was deleted long ago, and nobody who told of it knows it any more.
func TestADeletedPodKeepsItsName(t *testing.T) {
	w := newWorld(t)
	w.d.AddContainer(deployment(1, podA))
	w.Learn(10, "/kubepods/pod"+podA+"/"+id(1), time.Unix(7, 0))
	held := w.Of(10, 0, false) // as a process of it has it
	for n := range 2 * rememberedContainers {
		w.d.AddContainer(deployment(2+n, newPod(n)))
	}
	if _, known := w.d.Container(id(1)); known {
		t.Fatal("the directory still knows it: the test shows nothing")
	}
	w.settle(time.Hour)
	w.want(t, 10, "shop/Deployment/checkout app")
	if p := held.Proto(); p.GetPodName() != "checkout-1" || held.Pending() {
		t.Errorf("what its processes belong to is %v", p)
	}
}

func newPod(n int) string {
	uid := id(n)
	return uid[:8] + "-" + uid[8:12] + "-" + uid[12:16] + "-" + uid[16:20] + "-" + uid[52:]
}

// A container that starts again has the same id, and another cgroup: its lives have ids, starts and counts of their own.
func TestLivesOfAContainerDoNotMix(t *testing.T) {
	w := newWorld(t)
	path := "/docker/" + id(1)
	w.d.AddContainer(Container{ID: id(1), Name: "cache"})
	w.Learn(10, path, time.Unix(100, 0))
	first := w.Of(10, 0, false)
	told := first.Proto()

	w.Learn(11, path, time.Unix(200, 0))
	if !w.Of(11, 0, false).Pending() {
		t.Error("its count of starts is taken from its last life")
	}
	w.d.AddContainer(Container{ID: id(1), Name: "cache", Restarts: 1})
	w.settle(0)
	second := w.Of(11, 0, false).Proto()
	if first.Proto() != told || told.GetRestartCount() != 0 || told.GetStartTime().AsTime().Unix() != 100 {
		t.Errorf("its first life became %v", first.Proto())
	}
	if second.GetId() == told.GetId() || second.GetRestartCount() != 1 || second.GetStartTime().AsTime().Unix() != 200 {
		t.Errorf("its second life is %v, its first %v", second, told)
	}
}

// What is gone leaves nothing behind but its claim to its name.
func TestAContainerThatIsGoneIsForgotten(t *testing.T) {
	w := newWorld(t)
	w.d.AddContainer(deployment(1, podA))
	path := "/kubepods/pod" + podA + "/" + id(1)
	w.Learn(10, path, time.Unix(7, 0))
	w.want(t, 10, "shop/Deployment/checkout app")
	w.instances.all.Remove(10)
	if _, known := w.d.Container(id(1)); known || w.tops.Len() != 0 || !w.claims.Has(id(1)) {
		t.Errorf("the directory knows it: %t; %d paths; its claim: %t", known, w.tops.Len(), w.claims.Has(id(1)))
	}
	w.d.AddContainer(Container{ID: id(1), Name: "app"})
	w.Learn(11, "/system.slice/evil/"+id(1), time.Unix(8, 0))
	w.want(t, 11, "n/Container/"+id(1)[:12]+"?")

	// Started again at the same place before its last life is forgotten.
	w.Learn(12, "/docker/"+id(2), time.Unix(7, 0))
	w.Learn(13, "/docker/"+id(2), time.Unix(9, 0))
	w.d.AddContainer(Container{ID: id(2), Name: "cache"})
	w.settle(0)
	w.instances.all.Remove(12)
	if _, known := w.d.Container(id(2)); !known {
		t.Error("a living container was forgotten with its last life")
	}
	if _, known := w.tops.Peek(top{0, "/docker/" + id(2)}); !known {
		t.Error("so was its place")
	}
}
