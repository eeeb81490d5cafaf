// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"strings"
	"testing"
	"time"
)

func TestController(t *testing.T) {
	created := time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)
	const minutes = "29539440" // of 2026-03-01 12:00
	long := strings.Repeat("a-long-name", 8)
	type labels = map[string]string
	for _, tc := range []struct {
		name        string
		pod         string
		labels      labels
		annotations labels
		want        Controller
	}{
		{"deployment", "checkout-5d8f9c7b6d-x2kqz", labels{"pod-template-hash": "5d8f9c7b6d"}, nil, Controller{"Deployment", "checkout"}},
		{"deployment with dashes", "a-b-c-5d8f9c7b6d-x2kqz", labels{"pod-template-hash": "5d8f9c7b6d"}, nil, Controller{"Deployment", "a-b-c"}},
		{
			"deployment, name cut in the hash", long[:50] + "-5d8f9c7" + "x2kqz",
			labels{"pod-template-hash": "5d8f9c7b6d"},
			nil,
			Controller{"Deployment", long[:50]},
		},
		{
			"deployment, cut before the hash", long[:58] + "x2kqz",
			labels{"pod-template-hash": "5d8f9c7b6d"},
			nil,
			Controller{"Deployment", long[:58]},
		},
		{"a hash that is not in the name", "checkout", labels{"pod-template-hash": "5d8f9c7b6d"}, nil, Controller{"Deployment", "checkout"}},
		{"rollout", "checkout-5d8f9c7b6d-x2kqz", labels{"rollouts-pod-template-hash": "5d8f9c7b6d"}, nil, Controller{"Rollout", "checkout"}},
		{
			"stateful set", "db-11",
			labels{"statefulset.kubernetes.io/pod-name": "db-11", "controller-revision-hash": "db-7d"},
			nil,
			Controller{"StatefulSet", "db"},
		},
		{"stateful set's label on another pod", "db-x", labels{"statefulset.kubernetes.io/pod-name": "db-1"}, nil, Controller{"Pod", "db-x"}},
		{
			"daemon set", "fluent-bit-x2kqz",
			labels{"controller-revision-hash": "7d9", "pod-template-generation": "1"},
			nil,
			Controller{"DaemonSet", "fluent-bit"},
		},
		{"daemon set, name cut", long[:58] + "x2kqz", labels{"controller-revision-hash": "7d9"}, nil, Controller{"DaemonSet", long[:58]}},
		{"a revision hash, but no generated name", "fluent-bit", labels{"controller-revision-hash": "7d9"}, nil, Controller{"Pod", "fluent-bit"}},
		{
			"somebody else's controller", "web-x2kqz",
			labels{"controller-revision-hash": "7d9", "apps.kruise.io/cloneset-instance-id": "x"},
			nil,
			Controller{"Pod", "web-x2kqz"},
		},
		{"job", "import-x2kqz", labels{"batch.kubernetes.io/job-name": "import", "job-name": "import"}, nil, Controller{"Job", "import"}},
		{"job before 1.27", "import-x2kqz", labels{"job-name": "import"}, nil, Controller{"Job", "import"}},
		{
			"cron job", "nightly-" + minutes + "-x2kqz",
			labels{"batch.kubernetes.io/job-name": "nightly-" + minutes},
			nil,
			Controller{"CronJob", "nightly"},
		},
		{
			"a date is no cron job", "import-20260301-x2kqz",
			labels{"batch.kubernetes.io/job-name": "import-20260301"},
			nil,
			Controller{"Job", "import-20260301"},
		},
		{"static pod", "kube-apiserver-node-1", nil, labels{"kubernetes.io/config.source": "file"}, Controller{"Pod", "kube-apiserver"}},
		{"mirror of a static pod", "kube-apiserver-node-1", nil, labels{"kubernetes.io/config.mirror": "x"}, Controller{"Pod", "kube-apiserver"}},
		{
			"static pod of another node", "kube-apiserver-other", nil,
			labels{"kubernetes.io/config.source": "file"},
			Controller{"Pod", "kube-apiserver-other"},
		},
		{"bare pod", "debug-x2kqz", labels{"app": "debug"}, labels{"kubernetes.io/config.source": "api"}, Controller{"Pod", "debug-x2kqz"}},
		{"nothing", "", nil, nil, Controller{"Pod", ""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &PodMeta{Name: tc.pod, Labels: tc.labels, Annotations: tc.annotations, Created: created}
			if got := p.Controller("Node-1"); got != tc.want {
				t.Errorf("Controller of %s = %v, want %v", tc.pod, got, tc.want)
			}
		})
	}
}

func TestControllerOf(t *testing.T) {
	created := time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)
	for _, tc := range []struct {
		name        string
		labels      map[string]string
		owner, want Controller
	}{
		{"replica set of a deployment", map[string]string{"pod-template-hash": "5d8"}, Controller{"ReplicaSet", "web-5d8"}, Controller{"Deployment", "web"}},
		{"replica set of a rollout", map[string]string{"rollouts-pod-template-hash": "5d8"}, Controller{"ReplicaSet", "web-5d8"}, Controller{"Rollout", "web"}},
		{"replica set alone", nil, Controller{"ReplicaSet", "web"}, Controller{"ReplicaSet", "web"}},
		{"replica set alone, with a dash at its end", nil, Controller{"ReplicaSet", "web-"}, Controller{"ReplicaSet", "web-"}},
		{"job of a cron job", nil, Controller{"Job", "nightly-29539440"}, Controller{"CronJob", "nightly"}},
		{"job", nil, Controller{"Job", "import"}, Controller{"Job", "import"}},
		{"node", nil, Controller{"Node", "n1"}, Controller{"Pod", "etcd"}},
		{"an operator", nil, Controller{"Cluster", "pg"}, Controller{"Cluster", "pg"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &PodMeta{Name: "etcd-n1", Labels: tc.labels, Created: created}
			if got := p.ControllerOf(tc.owner); got != tc.want {
				t.Errorf("ControllerOf(%v) = %v, want %v", tc.owner, got, tc.want)
			}
		})
	}
}

func FuzzController(f *testing.F) {
	f.Add("web-5d8f9c7b6d-x2kqz", "pod-template-hash", "5d8f9c7b6d")
	f.Add("db-0", "statefulset.kubernetes.io/pod-name", "db-0")
	f.Add("nightly-29539440-x2kqz", "job-name", "nightly-29539440")
	f.Add("ds-x2kqz", "controller-revision-hash", "1")
	f.Fuzz(func(t *testing.T, pod, label, value string) {
		p := &PodMeta{Name: pod, Labels: map[string]string{label: value}}
		if c := p.Controller("n"); c.Kind == "" || (c.Name == "" && pod != "" && value != "") {
			t.Errorf("Controller of pod %q with %s=%q = %+v", pod, label, value, c)
		}
	})
}
