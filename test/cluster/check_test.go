// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// interval is that of the agents, by default.
const interval = 500 * time.Millisecond

// check compares events with the truth, one by one.
type check struct {
	*lab
	truth *truth
	// How many events of each kind were right, and what is wrong, by what it is.
	right map[string]int
	wrong map[string]int
	// Paths that each pod was told to have written, and calls by their client.
	written map[string]map[string]bool
	called  map[netip.AddrPort]bool
	served  map[netip.AddrPort]bool
	// Callers of whom nobody knows more than that they came through the port of a node that has neither end.
	strangers map[netip.AddrPort]bool
	// How often kubelet wrote to volumes of a type for containers to read, or beside those of drivers.
	prepared map[string]int
}

// configuration is below a pod's folder, which kubelet names after the volume's type and the volume.
var configuration = regexp.MustCompile(`/pods/([0-9a-f-]{36})/volumes/kubernetes\.io~(configmap|downward-api|projected)/([^/]+)/`)

func newCheck(l *lab, w *truth) *check {
	return &check{
		lab: l, truth: w, right: map[string]int{}, wrong: map[string]int{}, written: map[string]map[string]bool{},
		called: map[netip.AddrPort]bool{}, served: map[netip.AddrPort]bool{}, strangers: map[netip.AddrPort]bool{}, prepared: map[string]int{},
	}
}

// bad notes what is wrong with an event. Only the first of each sort is shown.
func (c *check) bad(ev *spoorv1.Event, what, format string, args ...any) {
	c.wrong[what]++
	if c.wrong[what] <= 5 {
		in, f := ev.GetInstance(), ev.GetFileWrite().GetFile()
		if f == nil {
			f = ev.GetFileChange().GetFile()
		}
		c.Errorf("%s: %s\n\t%s %s, %s of %s in %s: %v%v", what, fmt.Sprintf(format, args...), ev.GetTime().AsTime().Format("05.000"), ev.GetKind(),
			ev.GetProcess().GetExe(), in.GetContainerName(), in.GetPodName(), f, ev.GetFlow())
	}
}

func (c *check) all(events []*spoorv1.Event) {
	for _, ev := range events {
		switch {
		case ev.GetKind() == "loss":
			c.Logf("lost: %d of %s, %s", ev.GetLoss().GetCount(), ev.GetLoss().GetSource(), ev.GetLoss().GetReason())
		case ev.GetProcess() == nil: // of the agent itself
		case ev.GetInstance().GetWorkload().GetKind() == "Unit":
			c.unit(ev)
		default:
			c.pod(ev)
		}
	}
	c.missing()
	for _, kind := range slices.Sorted(maps.Keys(c.right)) {
		c.Logf("%6d right: %s", c.right[kind], kind)
	}
	for _, what := range slices.Sorted(maps.Keys(c.wrong)) {
		c.Errorf("%6d wrong: %s", c.wrong[what], what)
	}
}

// unit is an event of what runs on a node beside the pods.
func (c *check) unit(ev *spoorv1.Event) {
	w := ev.GetInstance().GetWorkload()
	if w.GetNamespace() != ev.GetNode() || !slices.Contains([]string{"kubelet.service", "containerd.service", "proxy.service"}, w.GetName()) {
		c.bad(ev, "unit", "no unit of the node is called so")
		return
	}
	if f := ev.GetFileWrite().GetFile(); f != nil {
		if f.GetStorageClass() == spoorv1.StorageClass_STORAGE_CLASS_UNSPECIFIED {
			c.bad(ev, "storage class of a unit", "none")
			return
		}
		if strings.HasSuffix(f.GetPath(), "/vol_data.json") {
			if f.GetStorageClass() != spoorv1.StorageClass_STORAGE_CLASS_HOST || f.GetVolume() != nil {
				c.bad(ev, "what kubelet notes", "it is on %v, %v", f.GetStorageClass(), f.GetVolume())
				return
			}
			c.prepared["csi"]++
		}
		if in := configuration.FindStringSubmatch(cmp.Or(f.GetHostPath(), f.GetPath())); in != nil {
			if v := f.GetVolume(); f.GetStorageClass() != spoorv1.StorageClass_STORAGE_CLASS_CONFIG || v.GetPodUid() != in[1] || v.GetType() != in[2] || v.GetName() != in[3] {
				c.bad(ev, "what kubelet prepares", "it is on %v, %v", f.GetStorageClass(), v)
				return
			}
			c.prepared[in[2]]++
		}
	}
	c.right["unit "+ev.GetKind()]++
}

func (c *check) pod(ev *spoorv1.Event) {
	in := ev.GetInstance()
	m := c.truth.byUID[in.GetPodUid()]
	if m == nil {
		if c.elsewhere(ev) {
			c.right["pods of others "+ev.GetKind()]++
			return
		}
		c.bad(ev, "pod", "no pod of the shop has this uid")
		return
	}
	before := len(c.wrong)
	total := 0
	for _, n := range c.wrong {
		total += n
	}
	c.instance(ev, m)
	switch fact := ev.GetFact().(type) {
	case *spoorv1.Event_FileWrite:
		c.file(ev, m, fact.FileWrite.GetFile())
	case *spoorv1.Event_FileChange:
		c.file(ev, m, fact.FileChange.GetFile())
	case *spoorv1.Event_Flow:
		c.flow(ev, fact.Flow)
	}
	after := 0
	for _, n := range c.wrong {
		after += n
	}
	if before == len(c.wrong) && total == after {
		c.right[ev.GetKind()]++
	}
}

// elsewhere tells pods outside of the shop: there are none but what Kubernetes itself might start.
func (c *check) elsewhere(ev *spoorv1.Event) bool {
	ns := ev.GetInstance().GetWorkload().GetNamespace()
	return ns != namespace && ns != ev.GetNode() && ev.GetInstance().GetPodName() != ""
}

func (c *check) instance(ev *spoorv1.Event, m *member) {
	in, w := ev.GetInstance(), ev.GetInstance().GetWorkload()
	if got := w.GetKind() + "/" + w.GetName(); got != m.workload() || w.GetNamespace() != namespace || w.GetCluster() != clusterName {
		c.bad(ev, "workload", "it is %s, want %s", got, m.workload())
	}
	if ev.GetNode() != m.Spec.NodeName {
		c.bad(ev, "node", "it is %s, want %s", ev.GetNode(), m.Spec.NodeName)
	}
	if want := m.labels(); !maps.Equal(in.GetLabels(), want) || !in.GetLabelsKnown() || in.GetLabelsLeftOut() != 0 {
		c.bad(ev, "labels", "they are %v (known: %v), want %v", in.GetLabels(), in.GetLabelsKnown(), want)
	}
	if in.GetPodName() != m.Metadata.Name {
		c.bad(ev, "pod name", "it is %s, want %s", in.GetPodName(), m.Metadata.Name)
	}
	restarts, known := m.containers[in.GetContainerId()]
	switch {
	case in.GetContainerName() == "POD" && len(in.GetContainerId()) == 64: // holds the namespaces; the API server does not know it
	case !known:
		c.bad(ev, "container", "the pod has no such container")
	case in.GetContainerName() != m.Status.ContainerStatuses[0].Name:
		c.bad(ev, "container name", "it is %s", in.GetContainerName())
	case in.GetRestartCount() != restarts:
		c.bad(ev, "restart count", "it is %d, want %d", in.GetRestartCount(), restarts)
	}
	// The time of a change of names is that of the reading before.
	if start := in.GetStartTime(); start == nil || start.AsTime().After(ev.GetTime().AsTime().Add(interval)) {
		c.bad(ev, "instance start", "it is %v", start)
	}
	if ev.GetProcess().GetExecId() == "" || in.GetId() == "" {
		c.bad(ev, "ids", "one is missing")
	}
}

// place is what a path of the shop is on.
type place struct {
	path, volume, claim string
	class               spoorv1.StorageClass
}

func places(pod string) []place {
	return []place{
		{"/tmp/", "", "", spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER},
		{"/dev/shm/", "", "", spoorv1.StorageClass_STORAGE_CLASS_TMPFS},
		{"/cache/", "cache", "", spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME},
		{"/prices/", "prices", "", spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME},
		{"/counts/", "counts", "", spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME},
		{"/desk/", "desk", pod + "-desk", spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME},
		{"/ledger/", "ledger", "ledger-orders-0", spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME},
		{"/receipts/", "receipts", "", spoorv1.StorageClass_STORAGE_CLASS_HOST_PATH},
		{"/vault/", "safe", "vault", spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME},
		{"/index/", "safe", "vault", spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME},
		{"/bench/", "bench", pod + "-bench", spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME},
		{"/drafts/", "drafts", "", spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME},
	}
}

func (c *check) file(ev *spoorv1.Event, m *member, f *spoorv1.File) {
	// What prepares a container is in it, too, and becomes the shop by an exec. In the base tier changes of names are told by process
	// id, so those of just before may be told of the program that it became.
	prepares := ev.GetKind() == "file_change" && ev.GetTime().AsTime().Before(ev.GetProcess().GetStartTime().AsTime().Add(interval))
	if ev.GetProcess().GetExe() != "/shop" || prepares && !c.wrote(m, f) {
		if f.GetStorageClass() == spoorv1.StorageClass_STORAGE_CLASS_UNSPECIFIED {
			c.bad(ev, "storage class of a runtime", "none")
		}
		return
	}
	if !c.wrote(m, f) && !c.copiedUp(m, f) {
		c.bad(ev, "path", "%s never wrote %s", m.Metadata.Name, f.GetPath())
		return
	}
	for _, p := range places(m.Metadata.Name) {
		if !strings.HasPrefix(f.GetPath(), p.path) {
			continue
		}
		if f.GetStorageClass() != p.class {
			c.bad(ev, "storage class", "it is %v, want %v", f.GetStorageClass(), p.class)
		}
		if v := f.GetVolume(); v.GetName() != p.volume || v.GetClaim() != p.claim || p.volume != "" && v.GetPodUid() != m.uid {
			c.bad(ev, "volume", "it is %v, want %s, claim %q", v, p.volume, p.claim)
		}
	}
	if c.written[m.uid] == nil {
		c.written[m.uid] = map[string]bool{}
	}
	c.written[m.uid][f.GetPath()] = true
}

// copiedUp says whether an overlay made the file when the pod wrote into a folder of its image: it has its own of that then, and made
// it in the folder where it works.
func (c *check) copiedUp(m *member, f *spoorv1.File) bool {
	return f.GetStorageClass() == spoorv1.StorageClass_STORAGE_CLASS_WRITABLE_LAYER && (strings.Contains(f.GetPath(), "/work/work") ||
		slices.ContainsFunc(m.acts, func(a act) bool {
			return a.Act == "write" && strings.HasPrefix(a.Path, strings.TrimSuffix(f.GetPath(), "/")+"/")
		}))
}

func (c *check) wrote(m *member, f *spoorv1.File) bool {
	return slices.ContainsFunc(m.acts, func(a act) bool { return a.Act == "write" && a.Path == f.GetPath() })
}

func (c *check) flow(ev *spoorv1.Event, f *spoorv1.Flow) {
	peer, err := netip.ParseAddr(f.GetPeer().GetAddress())
	if err != nil {
		c.bad(ev, "flow", "%v", err)
		return
	}
	got := f.GetPeer().GetWorkload().GetKind() + "/" + f.GetPeer().GetWorkload().GetName()
	if f.GetPeer().GetUnknown() == spoorv1.Endpoint_UNKNOWN_NO_ANSWER { // a service that nobody stands behind yet
		return
	}
	if f.GetDirection() == spoorv1.Direction_DIRECTION_OUTBOUND {
		want := c.truth.services[c.truth.byIP[peer]]
		if got != want {
			c.bad(ev, "called workload", "%s is %s, want %s", peer, got, want)
		}
		local, err := netip.ParseAddr(f.GetLocal().GetAddress())
		if err != nil {
			c.bad(ev, "flow", "%v", err)
			return
		}
		for _, port := range f.GetClientPorts() {
			c.called[netip.AddrPortFrom(local, uint16(port))] = true
		}
		return
	}
	for _, port := range f.GetClientPorts() {
		from := netip.AddrPortFrom(peer, uint16(port))
		c.served[from] = true
		if got == "/" && from.Addr().String() == otherNodeAddress && f.GetPeer().GetUnknown() != spoorv1.Endpoint_UNKNOWN_UNSPECIFIED {
			c.strangers[from] = true
			continue
		}
		if want := c.caller(from); !slices.Contains(want, got) {
			c.bad(ev, "caller", "%s is %s, want %s", from, got, want)
			return
		}
	}
}

// caller says who may have called from an address and port. Whoever calls from a pod is known by that. What the node's own network sends
// to a service goes with one of the node's addresses and another port; and kubelet looks whether a service is there.
func (c *check) caller(from netip.AddrPort) []string {
	if m := c.truth.callers[from]; m != nil {
		return []string{m.workload()}
	}
	if strings.HasPrefix(from.Addr().String(), "10.99.") { // another node's
		return []string{"Pod/neighbour", "Pod/visitor"}
	}
	return []string{"Pod/neighbour", "Pod/visitor", "Unit/kubelet.service"}
}

// missing looks for what was done and not told.
func (c *check) missing() {
	came, told := 0, len(c.strangers)
	for _, m := range c.truth.byUID {
		for _, a := range m.acts {
			switch a.Act {
			case "write":
				if !c.written[m.uid][a.Path] {
					c.wrong["write that was not told"]++
					c.Errorf("%s wrote %s at %v, which nobody tells", m.Metadata.Name, a.Path, a.Time)
				}
			case "serve":
				if from := netip.MustParseAddrPort(a.Client); from.Addr().String() == otherNodeAddress {
					came++
					delete(c.strangers, from)
				}
			}
		}
	}
	for _, kind := range []string{"configmap", "csi", "downward-api", "projected"} {
		if c.prepared[kind] == 0 {
			c.wrong["volume of kubelet's that was not told"]++
			c.Errorf("nobody wrote to a volume of the type %s", kind)
		}
	}
	c.Logf("%d calls came from outside through a node that has neither end; the ports of %d were told", came, told)
	if came > 0 && told == 0 { // of many in a moment some ports are told
		c.wrong["call from outside"]++
		c.Errorf("nobody says why such a caller has no name")
	}
	for from := range c.strangers {
		c.wrong["call from outside"]++
		c.Errorf("%s has no name, and called nobody", from)
	}
	c.Logf("%d clients' ports told by callers, %d by those called", len(c.called), len(c.served))
}
