// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/spoor/spoor/agent"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/credential"
)

// NameFlags say where an agent asks for the names of containers and pods.
type NameFlags struct {
	CRISocket  string `name:"cri-socket" help:"Socket of the container runtime; looked for in the usual places by default." placeholder:"PATH"`
	Kubeconfig string `help:"Kubeconfig file for the API server that knows the pods of this node; the service account by default, inside a cluster." placeholder:"FILE"`
}

// SensorFlags choose what is observed, and how.
type SensorFlags struct {
	Tier    string  `help:"auto takes the best that this kernel has, sensor by sensor; base forces what every supported kernel has." enum:"auto,base" default:"auto"`
	Without Sensors `help:"Sensors to leave out, of file, socket, udp, names, memory, dns, readback, unix and nat. In the base tier, each read, write and open of a file costs 3 to 4 ns less without names and readback." placeholder:"SENSOR"`
}

// Sensors is a list of sensors that can be left out.
type Sensors []string

// Validate is called by kong.
func (s Sensors) Validate() error {
	for _, name := range s {
		if !slices.Contains(agent.Optional(), name) {
			return fmt.Errorf("%q is none of %s", name, strings.Join(agent.Optional(), ", "))
		}
	}
	return nil
}

// PinFlag says what stays in the kernel when the agent ends.
type PinFlag struct {
	Pin string `help:"Folder of a BPF file system in which programs and facts stay in the kernel for the next agent; auto takes /sys/fs/bpf/spoor where it can be had, off keeps nothing." default:"auto" placeholder:"DIR"`
}

// CertificateFlags say by what an agent and its collector know each other.
type CertificateFlags struct {
	CA   string `name:"ca" help:"Certificates of the authorities that the collector is checked by, as PEM; the system's by default. Read again when it changes, as the two below." placeholder:"FILE"`
	Cert string `help:"Certificate of this agent, as PEM, which names cluster and node; see \"spoor pki\"." placeholder:"FILE"`
	Key  string `help:"Its key." placeholder:"FILE"`
}

// SpoolFlags say what outlives an agent on disk.
type SpoolFlags struct {
	Spool      string `help:"Folder that keeps events on disk until a collector has them, through crashes of the agent and of the machine; in memory only by default." placeholder:"DIR"`
	SpoolBytes Bytes  `help:"Bytes that events may take there; what comes when it is full is dropped and counted." default:"256MiB"`
}

// AgentFlags describe an agent that ships to a collector elsewhere.
type AgentFlags struct {
	Collector string `help:"URL of the collector to ship to." default:"http://127.0.0.1:7070"`
	Cluster   string `help:"Name of the Kubernetes cluster that this node belongs to; that of the certificate by default." placeholder:"NAME"`
	Node      string `help:"Name of this node; that of the certificate by default, or the host name." placeholder:"NAME"`
	CertificateFlags
	Cgroup   string        `help:"Report only what is in this cgroup and below it, for several nodes that share one kernel, each with an agent of its own; the whole machine by default." placeholder:"PATH"`
	Interval time.Duration `help:"How often facts are read from the kernel." default:"500ms"`
	Queue    int           `help:"Events that may wait for a collector; what comes when it is full is dropped and counted." default:"200000"`
	SpoolFlags
	SensorFlags
	NameFlags
	PinFlag
	Metrics string `help:"Serve /metrics and /healthz at this address; nowhere by default." placeholder:"ADDRESS"`
	LogFlags
}

// open reads the certificates, and takes from them what was not said otherwise.
func (f *AgentFlags) open(collector string, logger *slog.Logger) (func() (*tls.Config, uint64), error) {
	if !strings.HasPrefix(collector, "https://") {
		if f.Cert != "" || f.Key != "" || f.CA != "" {
			return nil, BadInput(fmt.Errorf("certificates are of no use with %s", collector), "Write --collector https://HOST:PORT.")
		}
		return nil, nil
	}
	source, err := credential.Open(credential.Files{Cert: f.Cert, Key: f.Key, CA: f.CA}, logger)
	if err != nil {
		return nil, BadInput(fmt.Errorf("certificates cannot be read: %w", err), "See \"spoor pki --help\" for how to make them; --ca, --cert and --key name the files.")
	}
	if leaf := source.Leaf(); leaf != nil {
		id, err := spoorv1.ParseAgentID(leaf.URIs)
		if err != nil {
			return nil, BadInput(fmt.Errorf("%s: %w", f.Cert, err), "\"spoor pki agent\" makes one that names a node.")
		}
		if f.Cluster == "" {
			f.Cluster = id.Cluster
		}
		if f.Node == "" {
			f.Node = id.Node
		}
	}
	return source.Client, nil
}

// Run watches this host until ctx ends.
func (f *AgentFlags) Run(ctx context.Context, streams *Streams) error {
	url, err := CollectorURL(f.Collector)
	if err != nil {
		return err
	}
	logger := f.Logger(streams.Err)
	secure, err := f.open(url, logger)
	if err != nil {
		return err
	}
	registry := NewRegistry()
	a, err := agent.New(agent.Options{
		CollectorURL: url,
		TLS:          secure,
		Cluster:      f.Cluster,
		Node:         f.Node,
		Cgroup:       f.Cgroup,
		Tier:         f.Tier,
		Without:      f.Without,
		Pin:          f.Pin,
		Interval:     f.Interval,
		QueueRecords: f.Queue,
		Spool:        f.Spool,
		SpoolBytes:   int64(f.SpoolBytes),
		CRISocket:    f.CRISocket,
		Kubeconfig:   f.Kubeconfig,
		Logger:       logger,
		Registerer:   registry,
		Version:      BuildInfo().Version,
	})
	if err != nil {
		return Failed(err, "")
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.Run(ctx) })
	if f.Metrics != "" {
		group.Go(func() error { return serveMetrics(ctx, f.Metrics, registry) })
	}
	if err := group.Wait(); err != nil {
		return Failed(err, "")
	}
	return nil
}

// NewRegistry returns a registry that tells about this process itself.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	b := BuildInfo()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "spoor_build_info", Help: "1, with what this program was built from.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "go": b.Go},
	})
	build.Set(1)
	r.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

func serveMetrics(ctx context.Context, address string, gatherer prometheus.Gatherer) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serve metrics: %w; --metrics takes another address", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}
