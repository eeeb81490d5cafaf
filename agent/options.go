// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spoor/spoor/agent/ship/spool"
)

// The tiers that Options.Tier takes.
const (
	// TierAuto takes the best tier that loads, sensor by sensor.
	TierAuto = "auto"
	// TierBase takes tp_btf programs and iterators only, whatever the kernel allows.
	TierBase = "base"
)

// Optional returns the names of the sensors that Options.Without can leave out: all but that of processes, without which
// nothing else has an owner.
func Optional() []string {
	return []string{"file", "socket", "udp", "names", "memory", "dns", "readback", "unix", "nat"}
}

// Options of an Agent. The zero value of a field takes the default that stands beside it.
type Options struct {
	// URL of the collector, for example https://collector.example:7070, or http://127.0.0.1:7070.
	CollectorURL string
	// Secures connections to an https URL, as ship.Options has it.
	TLS func() (config *tls.Config, version uint64)
	// Name of the cluster, or empty on a plain host.
	Cluster string
	// Name of the node: the host name.
	Node string
	// TierAuto (the default) or TierBase.
	Tier string
	// The branch of the cgroup tree to report, for example /node1; "" is all of the machine. For several nodes on one kernel,
	// each with an agent of its own.
	Cgroup string
	// Socket of the container runtime (CRI), as a path or a unix:// URL; "" looks in the usual places.
	CRISocket string
	// A kubeconfig file for the API server that knows this node's pods; "" takes the service account of the pod that the
	// agent runs in, if it does.
	Kubeconfig string
	// Names of sensors to do without, of Optional. What they would have seen is missing, which their coverage says.
	Without []string
	// Where programs and facts stay in the kernel when the agent ends, for the next to take over: a folder of a BPF file
	// system, PinAuto or PinOff; "" is PinOff. One agent at a time can have a folder.
	Pin string
	// How long the agent waits for its predecessor to let go of a folder that is named, here or as Spool: 10 s.
	PinPatience time.Duration
	// Leave nothing there when the agent is stopped, and only when it dies.
	Unpin bool
	// How often facts are read from the kernel: 500 ms, at least 10 ms.
	Interval time.Duration
	// How often the shared memory of all processes is looked at: 30 s.
	MemoryInterval time.Duration
	// How often the Unix sockets of all processes are looked at: 30 s.
	UnixInterval time.Duration
	// Records that may wait for a collector: 200,000. What comes when it is full is dropped and counted.
	QueueRecords int
	// Where events outlive the agent until a collector has them: a folder of its own, on a disk; "" keeps them in memory.
	Spool string
	// Bytes that they may take there: 256 MiB.
	SpoolBytes int64
	// Images of processes that are remembered: 65,536.
	Processes int
	// Files and peers whose next event is scheduled: 65,536 each.
	Footprint int
	// The sizes of the kernel side: 0 takes the defaults in bpf/.
	FileFacts, FlowFacts, ProcessRingBytes, NameRingBytes uint32
	// How long a stop may take to bring the last events to the collector: 5 s.
	DrainTimeout time.Duration

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Version    string
}

// withDefaults returns a copy whose zero fields have their defaults.
func (o Options) withDefaults() (Options, error) {
	if o.Node == "" {
		name, err := os.Hostname()
		if err != nil {
			return o, fmt.Errorf("option Node: the host has no name: %w", err)
		}
		o.Node = name
	}
	if o.Tier == "" {
		o.Tier = TierAuto
	}
	if o.Interval == 0 {
		o.Interval = 500 * time.Millisecond
	}
	if o.MemoryInterval == 0 {
		o.MemoryInterval = 30 * time.Second
	}
	if o.UnixInterval == 0 {
		o.UnixInterval = 30 * time.Second
	}
	if o.QueueRecords == 0 {
		o.QueueRecords = 200_000
	}
	if o.SpoolBytes == 0 {
		o.SpoolBytes = 256 << 20
	}
	if o.Processes == 0 {
		o.Processes = 65_536
	}
	if o.Footprint == 0 {
		o.Footprint = 65_536
	}
	if o.PinPatience == 0 {
		o.PinPatience = 10 * time.Second
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	return o, nil
}

func (o Options) validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("option %s: %w", field, fmt.Errorf(format, args...)))
	}
	if u, err := url.Parse(o.CollectorURL); err != nil {
		bad("CollectorURL", "%w", err)
	} else if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		bad("CollectorURL", "%q is not a URL like http://127.0.0.1:7070", o.CollectorURL)
	}
	if o.Tier != TierAuto && o.Tier != TierBase {
		bad("Tier", "%q is neither %q nor %q", o.Tier, TierAuto, TierBase)
	}
	if o.Cgroup != "" && (o.Cgroup == "/" || path.Clean(o.Cgroup) != o.Cgroup || !path.IsAbs(o.Cgroup)) {
		bad("Cgroup", "%q is not a path below a cgroup mount, like /node1", o.Cgroup)
	}
	for _, name := range o.Without {
		if !slices.Contains(Optional(), name) {
			bad("Without", "%q is none of %s", name, strings.Join(Optional(), ", "))
		}
	}
	if o.Interval < 10*time.Millisecond {
		bad("Interval", "%s is shorter than 10ms", o.Interval)
	}
	if o.UnixInterval < o.Interval {
		bad("UnixInterval", "%s is shorter than the interval of %s", o.UnixInterval, o.Interval)
	}
	if o.MemoryInterval < o.Interval {
		bad("MemoryInterval", "%s is shorter than the interval of %s", o.MemoryInterval, o.Interval)
	}
	if o.Spool != "" && o.SpoolBytes < spool.MinLimit {
		bad("SpoolBytes", "%d is less than %d", o.SpoolBytes, spool.MinLimit)
	}
	for _, n := range []struct {
		name  string
		value int
	}{{"QueueRecords", o.QueueRecords}, {"Processes", o.Processes}, {"Footprint", o.Footprint}} {
		if n.value < 1 {
			bad(n.name, "%d is not positive", n.value)
		}
	}
	for _, n := range []struct {
		name  string
		value uint32
	}{{"ProcessRingBytes", o.ProcessRingBytes}, {"NameRingBytes", o.NameRingBytes}} {
		if n.value != 0 && (n.value&(n.value-1) != 0 || n.value < 4096) {
			bad(n.name, "%d is not a power of two of at least 4096", n.value)
		}
	}
	return errors.Join(errs...)
}
