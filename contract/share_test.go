// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"strings"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// joined is memory or a socket that another instance has, too.
func joined(kind spoorv1.Share_Kind, path string, other *spoorv1.Workload, instance string) *spoorv1.Share {
	return &spoorv1.Share{Kind: kind, File: inode(path, 7, tmpfs), Other: other, OtherInstance: instance}
}

const (
	memory = spoorv1.Share_KIND_MEMORY
	socket = spoorv1.Share_KIND_SOCKET
)

const sharer = `
apiVersion: spoor.dev/v1
kind: Contract
metadata: {name: checkout, namespace: shop}
spec:
  workload: {kind: Deployment, name: checkout}
  shares:
    - {workload: Deployment/payments}
    - {path: /run/open.sock}
    - {workload: lab/Deployment/*, path: /dev/shm/ring*}
`

// in puts the scene into a container of a pod.
func (s *scene) seesInPod(pod, container, instance string, fact any, want ...string) {
	s.t.Helper()
	ev := s.event(fact)
	ev.Instance.Id, ev.Instance.PodUid, ev.Instance.ContainerName = instance, pod, container
	s.expect(ev.GetKind(), s.judge.Observe(ev), want)
}

func TestJoins(t *testing.T) {
	session := &spoorv1.Workload{Namespace: "node1", Kind: "Session", Name: "anna"}
	unit := &spoorv1.Workload{Namespace: "node1", Kind: "Unit", Name: "db.service"}
	for _, tc := range []struct {
		name     string
		contract string
		share    *spoorv1.Share
		want     []string
	}{
		{"memory", checkoutContract, joined(memory, "/dev/shm/ring42", stranger, "x"), []string{"medium share.memory /dev/shm/ring42 with east/lab/Deployment/stranger"}},
		{"System V memory", checkoutContract, joined(memory, "SYSV00001234", stranger, "x"), []string{"medium share.memory SYSV00001234 with east/lab/Deployment/stranger"}},
		{"memory without a name", checkoutContract, joined(memory, "", stranger, "x"), []string{"medium share.memory memory without a name with east/lab/Deployment/stranger"}},
		{"memory of a replica", checkoutContract, joined(memory, "/dev/shm/x", checkout, "i0"), []string{"medium share.memory /dev/shm/x with another replica of it"}},
		{"a socket", checkoutContract, joined(socket, "/run/app.sock", stranger, "x"), []string{"medium share.socket /run/app.sock with east/lab/Deployment/stranger"}},
		{"an abstract socket", checkoutContract, joined(socket, "@app", stranger, "x"), []string{"medium share.socket @app with east/lab/Deployment/stranger"}},
		{"a service of the node", checkoutContract, joined(socket, "/run/db/.s.PGSQL.5432", unit, "x"), []string{"medium share.socket /run/db/.s.PGSQL.* with node1/Unit/db.service"}},
		{"a socket that was handed over", checkoutContract, joined(socket, "", stranger, "x"), nil},
		{"the journal", checkoutContract, joined(socket, "/run/systemd/journal/stdout", unit, "x"), nil},
		{"the system log", checkoutContract, joined(socket, "/dev/log", unit, "x"), nil},
		{"the bus", checkoutContract, joined(socket, "/var/run/dbus/system_bus_socket", unit, "x"), nil},
		{"the container runtime", checkoutContract, joined(socket, "/run/containerd/containerd.sock", unit, "x"), nil},
		{"Docker", checkoutContract, joined(socket, "/var/run/docker.sock", unit, "x"), nil},
		{"a plugin of the kubelet", checkoutContract, joined(socket, "/var/lib/kubelet/plugins/csi/csi.sock", unit, "x"), nil},
		{"a person's bus", checkoutContract, joined(socket, "/run/user/1000/bus", unit, "x"), nil},
		{"a person's own", checkoutContract, joined(socket, "/run/user/1000/app", unit, "x"), []string{"medium share.socket /run/user/*/app with node1/Unit/db.service"}},
		{"a person who looks", checkoutContract, joined(socket, "/run/app.sock", session, "x"), nil},
		{"nobody known", checkoutContract, joined(socket, "/run/app.sock", nil, ""), nil},
		{"agreed with whom", sharer, joined(socket, "/run/x.sock", payments, "x"), nil},
		{"agreed where", sharer, joined(socket, "/run/open.sock", unit, "x"), nil},
		{"agreed both", sharer, joined(memory, "/dev/shm/ring1", stranger, "x"), nil},
		{"agreed with them elsewhere", sharer, joined(memory, "/dev/shm/other", stranger, "x"), []string{"medium share.memory /dev/shm/other with east/lab/Deployment/stranger"}},
		{"replicas that may keep state", strings.Replace(sharer, "spec:", "spec:\n  state: stateful", 1), joined(memory, "/dev/shm/x", checkout, "i0"), nil},
	} {
		t.Run(tc.name, func(t *testing.T) { newScene(t, tc.contract).sees(tc.share, tc.want...) })
	}
}

func TestJoinVerdict(t *testing.T) {
	s := newScene(t, checkoutContract)
	s.sees(joined(socket, "/run/app.sock", stranger, "x"), "medium share.socket /run/app.sock with east/lab/Deployment/stranger")
	v := s.last[0]
	if want := "Deployment shop/checkout and east/lab/Deployment/stranger are joined by the Unix socket /run/app.sock"; v.Title != want {
		t.Errorf("title %q", v.Title)
	}
	if want := "add it to spec.shares of contract shop/checkout (test.yaml:2): - {workload: lab/Deployment/stranger, path: /run/app.sock}"; !strings.HasSuffix(v.Fix, want) {
		t.Errorf("fix %q", v.Fix)
	}
	s.tick(25*time.Hour, "cleared share.socket /run/app.sock with east/lab/Deployment/stranger")
	s.sees(joined(memory, "/memfd:ring (deleted)", stranger, "x"), "medium share.memory /memfd:ring (deleted) with east/lab/Deployment/stranger")
	s.expect("reload", s.judge.Reload(mustSet(t, strings.Replace(checkoutContract, "  calls:", "  shares: [{workload: lab/Deployment/stranger}]\n  calls:", 1))),
		[]string{"cleared share.memory /memfd:ring (deleted) with east/lab/Deployment/stranger"})
}

// Containers of one pod live and die together: what they share is no state of the service and hardly couples it.
func TestSidecars(t *testing.T) {
	s := newScene(t, checkoutContract)
	s.seesInPod("p1", "app", "i1", listens("10.1.0.7", 8443))
	s.seesInPod("p1", "proxy", "i2", joined(memory, "/dev/shm/x", checkout, "i1"), "low share.memory /dev/shm/x with another container of the same pod")
	s.seesInPod("p1", "proxy", "i2", joined(socket, "/run/app.sock", checkout, "i1"), "low share.socket /run/app.sock with another container of the same pod")
	s.seesInPod("p1", "proxy", "i2", reading(inode("/app/state", 8, emptyDir), checkout, "i1"))
	// The next life of the container itself is another matter.
	s.seesInPod("p1", "app", "i3", reading(inode("/app/state", 8, emptyDir), checkout, "i1"), "high state.survives /app/state")

	s.workload = checkout
	shared := inode("/mnt/shared", 9, claim)
	s.seesInPod("p1", "app", "i1", write(shared))
	s.seesInPod("p1", "proxy", "i2", write(shared))
	s.seesInPod("p1", "app", "i1", write(shared), "low share.file /mnt/shared")
	s.seesInPod("p2", "app", "i4", write(shared))
	s.after(time.Hour)
	s.seesInPod("p1", "app", "i1", write(shared), "medium share.file /mnt/shared")
}

func TestReadingWhatOthersWrote(t *testing.T) {
	s := newScene(t, checkoutContract)
	s.sees(reading(inode("/mnt/orders.json", 7, claim), payments, "x"), "medium share.file /mnt/orders.json")
	if want := "Deployment shop/checkout reads what east/shop/Deployment/payments wrote: /mnt/orders.json in a persistent volume"; s.last[0].Title != want {
		t.Errorf("title %q", s.last[0].Title)
	}
	s.sees(reading(inode("/var/log/pods/x.log", 8, hostPath), payments, "x")) // who ships logs
	s.sees(reading(inode("/var/cache/tpl/x", 9, hostPath), payments, "x"))    // agreed to
	s.sees(reading(inode("/etc/resolv.conf", 10, disk), payments, "x"))       // the node's own disk
	s.workload = payments                                                     // has no contract; the writer has
	s.sees(reading(inode("/mnt/carts.json", 11, claim), checkout, "i1"), "medium share.file /mnt/carts.json")
	if want := "Deployment shop/checkout wrote what east/shop/Deployment/payments reads: /mnt/carts.json in a persistent volume"; s.last[0].Title != want {
		t.Errorf("title %q", s.last[0].Title)
	}
}

func TestSharesAreChecked(t *testing.T) {
	text := strings.Replace(sharer, "    - {path: /run/open.sock}\n", "    - {path: /run/open.sock}\n    - {path: /run/open.sock}\n    - {}\n    - {path: relative}\n", 1)
	_, err := Parse("f.yaml", []byte(text))
	for _, want := range []string{
		"f.yaml:10:7: the share is written twice; keep one of them",
		"f.yaml:11:7: spec.shares[3] says neither what is shared nor with whom; write workload, path or both",
		"f.yaml:12:",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
	a, b := parseAll(t, sharer), parseAll(t, strings.Replace(sharer, "    - {path: /run/open.sock}\n", "", 1))
	for _, tc := range []struct {
		was, is []*Contract
		want    string
	}{
		{a, b, "narrower shop/checkout spec.shares: no longer allowed to be shared by a line of its own\n  - - {path: /run/open.sock}"},
		{b, a, "wider shop/checkout spec.shares: allowed to be shared by a new line\n  + - {path: /run/open.sock}"},
	} {
		changes := Diff(tc.was, tc.is)
		if len(changes) != 1 || string(changes[0].Effect)+" "+changes[0].String() != tc.want {
			t.Errorf("%v", changes)
		}
	}
}
