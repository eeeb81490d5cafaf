// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// nodeSockets are where a node's own services listen for everybody on it: the journal, the bus, the name service, the container
// runtimes, the kubelet's plugins. Whoever runs on the node has them, as it has the kernel.
var nodeSockets = []string{
	"/dev/log", "/run/systemd/", "/run/dbus/", "/run/udev/", "/run/nscd/", "/run/initctl", "/var/lib/sss/pipes/", "/run/polkit/", "/run/rpcbind.sock",
	"/run/uuidd/", "/run/avahi-daemon/", "/run/chrony/", "/run/lvm/", "/run/acpid.socket", "/run/snapd",
	"/run/containerd/", "/run/docker", "/run/crio/", "/run/cri-dockerd.sock", "/run/podman/", "/run/k3s/", "/var/lib/kubelet/",
	"@/containerd-shim/", "@/org/kernel/", "@ISCSIADM_ABSTRACT_NAMESPACE",
}

// isNodeSocket says whether a socket belongs to the node rather than to one of its workloads.
func isNodeSocket(name string) bool {
	name = strings.TrimPrefix(name, "/var")
	if strings.HasPrefix(name, "/lib/") {
		name = "/var" + name
	}
	for _, place := range nodeSockets {
		if strings.HasPrefix(name, place) {
			return true
		}
	}
	// A person's own bus and service manager: /run/user/1000/bus.
	rest, ok := strings.CutPrefix(name, "/run/user/")
	_, rest, _ = strings.Cut(rest, "/")
	return ok && (rest == "bus" || strings.HasPrefix(rest, "systemd/"))
}

// isPerson says whether a workload is somebody who looks around rather than a service, or the kernel.
func isPerson(w *spoorv1.Workload) bool { return w.GetKind() == "Session" || w.GetKind() == "Kernel" }

// join looks at memory and Unix sockets that two instances have in common: share.memory and share.socket. The node tells of
// each pair from both sides, so each side is judged by its own contract.
func (j *Judge) join(w *workload, ev *spoorv1.Event, s *spoorv1.Share, t time.Time) {
	rule := RuleShareMemory
	switch s.GetKind() {
	case spoorv1.Share_KIND_MEMORY:
	case spoorv1.Share_KIND_SOCKET:
		rule = RuleShareSocket
	default:
		return
	}
	src := s.GetFile()
	name := pathOf(src)
	// A socket without a name was inherited or handed over by whoever started the two: a service manager, a container runtime.
	if rule == RuleShareSocket && (name == "" || isNodeSocket(name) || isNodeSocket(src.GetHostPath())) {
		return
	}
	a := &acquaintance{workload: s.GetOther()}
	if a.workload.GetName() == "" || isPerson(a.workload) {
		return
	}
	if a.workload.Same(w.id) {
		a.relation = replica
		if w.isSidecar(ev, s.GetOtherInstance()) {
			a.relation = sidecar
		}
	}
	if a.relation != another && w.state() != Stateless || w.policy.agreesToShare(rule, w.id, a.workload, src, outside) {
		return
	}
	m := j.matter(w, rule, joinSubject(rule, name, a))
	m.endless, m.other = false, a.workload
	if j.raise(m, t, ev) {
		j.tell(m, w.joinVerdict(m.key, name, a, ev, t))
	}
	j.fade(m, t.Add(shareQuiet), ev)
}

func joinSubject(rule, name string, a *acquaintance) string {
	switch {
	case strings.HasPrefix(name, "/"):
		name = string(Generalise(name))
	case name == "" && rule == RuleShareMemory:
		name = "memory without a name"
	}
	return printable(name) + " with " + a.String()
}

func (w *workload) joinVerdict(key matterKey, name string, a *acquaintance, ev *spoorv1.Event, t time.Time) Verdict {
	v := Verdict{Severity: a.grade(), Time: t, Evidence: []*spoorv1.Event{ev}}
	what := printable(name)
	if key.rule == RuleShareMemory {
		if what == "" {
			what = "without a name"
		}
		v.Title = fmt.Sprintf("%s and %s share writable memory: %s", w.describe(), a, what)
		v.Why = fmt.Sprintf("What one writes there the other sees at once, without a call that anybody could see, limit or repeat: a fault of one is a fault of both, and the two can only run on one node. It is mapped%s.", by(ev))
		v.Fix = "Let them talk over an interface, or make them one workload."
	} else {
		v.Title = fmt.Sprintf("%s and %s are joined by the Unix socket %s", w.describe(), a, what)
		v.Why = fmt.Sprintf("A Unix socket works on one node only and is in no list of ports: a dependency that no network policy sees, and that breaks when either of the two is moved. It is open%s.", by(ev))
		v.Fix = "Let them talk over the network, where the call is seen and can be agreed to."
	}
	if key.subject == others {
		v.Title = fmt.Sprintf("%s shares much more, last %s with %s", w.describe(), what, a)
	}
	pattern := PathPattern("")
	if strings.HasPrefix(name, "/") {
		pattern = Generalise(name)
	}
	v.Fix += " If both agreed to it, " + w.howToShare(a, pattern)
	return v
}
