// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spoor/spoor/agent/workload/kube"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/internal/credential"
	"github.com/spoor/spoor/cmd/spoor/internal/objects"
	"github.com/spoor/spoor/cmd/spoor/internal/when"
	"github.com/spoor/spoor/collector"
	"github.com/spoor/spoor/collector/ingest"
	"github.com/spoor/spoor/collector/trust"
	"github.com/spoor/spoor/contract"
)

// centreFlags describe a collector.
type centreFlags struct {
	Listen       string    `help:"Address for agents, for people and for the web page." default:"127.0.0.1:7070"`
	Data         string    `help:"Folder that keeps the events." default:"/var/lib/spoor"`
	Keep         string    `help:"How long events are kept: 12h, 30d, 8w; 0 for ever." default:"30d"`
	KeepBytes    cli.Bytes `help:"What events may take on disk: 20GiB, 500MB; 0 for anything. The oldest go first, also before --keep ends." default:"0" placeholder:"SIZE"`
	Contracts    string    `help:"Folder of contracts to judge by; see \"spoor contract check\"." placeholder:"DIR"`
	Alertmanager string    `help:"Alertmanager that findings are sent to." placeholder:"URL"`
	limitFlags
}

// limitFlags say what agents may take of a collector.
type limitFlags struct {
	AgentRate    int       `help:"Records a second of one agent, on average. Who sends more is read more slowly, and keeps its events meanwhile." default:"20000"`
	AgentBurst   int       `help:"Records that an agent may send at once after a pause; 20 seconds of --agent-rate by default." placeholder:"N"`
	AgentMessage cli.Bytes `help:"Largest message of an agent, uncompressed. Larger ones are refused." default:"16MiB"`
	AgentMemory  cli.Bytes `help:"Batches of one agent that wait to be stored; it is not read beyond." default:"32MiB"`
	AgentsMemory cli.Bytes `help:"Batches of all agents that wait to be stored." default:"256MiB"`
}

func (f *limitFlags) limits() (ingest.Limits, error) {
	l := ingest.Limits{
		MessageBytes: int64(f.AgentMessage), RecordsPerSecond: f.AgentRate, Burst: f.AgentBurst, NodeBytes: int64(f.AgentMemory), TotalBytes: int64(f.AgentsMemory),
	}
	const fix = "Change --agent-rate, --agent-burst, --agent-message, --agent-memory or --agents-memory."
	if min(f.AgentRate, int(f.AgentMessage), int(f.AgentMemory), int(f.AgentsMemory)) <= 0 {
		return l, cli.BadInput(errors.New("limits of agents must be above 0"), fix)
	}
	if err := l.Validate(); err != nil {
		return l, cli.BadInput(err, fix)
	}
	return l, nil
}

// forwardFlags say where a collector forwards to.
type forwardFlags struct {
	Forward     string `help:"URL of another collector, which gets everything that this one stores, too." placeholder:"URL"`
	ForwardCert string `help:"Certificate that names this collector to it, of \"spoor pki forwarder\", as PEM. Read again when it changes, as the files below." placeholder:"FILE"`
	ForwardKey  string `help:"Its key." placeholder:"FILE"`
	ForwardCA   string `name:"forward-ca" help:"Certificates of the authorities that the other collector is checked by, as PEM; the system's by default." placeholder:"FILE"`
}

// onward is where a collector forwards to; the zero value is nowhere.
type onward struct {
	url    string
	secure func() (*tls.Config, uint64)
}

// open reads the files.
func (f *forwardFlags) open(logger *slog.Logger) (onward, error) {
	if f.Forward == "" {
		if f.ForwardCert+f.ForwardKey+f.ForwardCA != "" {
			return onward{}, cli.BadInput(errors.New("--forward-cert, --forward-key and --forward-ca are for --forward, which is not given"), "")
		}
		return onward{}, nil
	}
	url, err := cli.CollectorURL(f.Forward)
	if err != nil {
		return onward{}, err
	}
	source, err := credential.Open(credential.Files{Cert: f.ForwardCert, Key: f.ForwardKey, CA: f.ForwardCA}, logger)
	if err != nil {
		return onward{}, cli.BadInput(fmt.Errorf("certificates for --forward cannot be read: %w", err), "\"spoor pki forwarder\" makes one.")
	}
	return onward{url, source.Client}, nil
}

// access is who may reach a collector and how; the zero value is everybody on this host.
type access struct {
	forwarders map[string][]string
	secure     *tls.Config
	people     *trust.People
	hosts      []string
	audit      *slog.Logger
}

// open starts a collector as far as that its port is bound and its store is open.
func (f *centreFlags) open(logger *slog.Logger, registry *prometheus.Registry, who access, to onward, in fleetStore, of *objects.Source) (*collector.Collector, error) {
	if err := cli.CheckListen("--listen", f.Listen); err != nil {
		return nil, err
	}
	if f.Alertmanager != "" {
		if err := cli.CheckServer("--alertmanager", f.Alertmanager); err != nil {
			return nil, err
		}
	}
	keep, err := when.Duration(f.Keep)
	if f.Keep == "0" {
		keep, err = 0, nil
	}
	if err != nil {
		return nil, cli.BadInput(fmt.Errorf("--keep: %w", err), "")
	}
	if f.KeepBytes > 0 && f.KeepBytes < collector.LeastMaxBytes {
		return nil, cli.BadInput(fmt.Errorf("--keep-bytes: %d bytes are too few for events to have room", f.KeepBytes), fmt.Sprintf("Give at least %dMiB.", collector.LeastMaxBytes>>20))
	}
	limits, err := f.limits()
	if err != nil {
		return nil, err
	}
	agreed := &agreements{objects: of}
	var reload func() (*contract.Set, bool, error)
	if of != nil {
		reload = agreed.changed
	}
	if f.Contracts != "" {
		// Watched before they are read: what changes in between is read twice, not missed.
		folder, err := watchContracts(f.Contracts)
		if err == nil {
			agreed.folder, reload = folder, agreed.changed
		}
		if agreed.files, err = loadContracts(f.Contracts); err != nil {
			if info, statErr := os.Stat(f.Contracts); statErr != nil || !info.IsDir() {
				return nil, cli.BadInput(fmt.Errorf("--contracts: there is no folder %s", f.Contracts), "Name a folder of *.yaml and *.yml files; deploy/examples has some.")
			}
			return nil, cli.BadInput(fmt.Errorf("contracts cannot be read:\n%w", err),
				"Correct them, and try with \"spoor contract check "+f.Contracts+"\".")
		}
	}
	c, err := collector.New(collector.Options{
		Listen:          f.Listen,
		TLS:             who.secure,
		People:          who.people,
		Hosts:           who.hosts,
		Audit:           who.audit,
		Forwarders:      who.forwarders,
		ForwardURL:      to.url,
		ForwardTLS:      to.secure,
		DataDir:         f.Data,
		ClickHouse:      in.address,
		ClickHouseTLS:   in.trust,
		Contracts:       agreed.files,
		Reload:          reload,
		AlertmanagerURL: f.Alertmanager,
		Retention:       keep,
		MaxBytes:        int64(f.KeepBytes),
		Limits:          limits,
		Logger:          logger,
		Registerer:      registry,
		Gatherer:        registry,
		Version:         cli.BuildInfo().Version,
	})
	if err != nil {
		return nil, f.explain(err)
	}
	return c, nil
}

// explain says why a collector cannot start here and what would help.
func (f *centreFlags) explain(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		problem := fmt.Errorf("the address %s is taken", f.Listen)
		if holder := portHolder(f.Listen); holder != "" {
			problem = fmt.Errorf("the address %s is taken by %s", f.Listen, holder)
		}
		return cli.Failed(problem, "Stop what holds it (another \"spoor up\"?), or take another one with --listen ADDRESS.")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return cli.BadInput(fmt.Errorf("the address %s is none of this host", f.Listen), "Give --listen an address that \"ip address\" lists, or 127.0.0.1.")
	case errors.Is(err, fs.ErrPermission):
		return cli.Failed(err, "Run as root (sudo), or choose a folder that you may write with --data DIR and a port above 1023 with --listen ADDRESS.")
	case errors.Is(err, syscall.ENOSPC):
		return cli.Failed(err, "Make room, or choose another folder with --data DIR.")
	default:
		return cli.Failed(err, "")
	}
}

// accessFlags say who may reach a collector.
type accessFlags struct {
	TLSCert  string `name:"tls-cert" help:"Certificate of this collector, as PEM, with those between it and its authority. Read again when it changes, as the files below." placeholder:"FILE"`
	TLSKey   string `name:"tls-key" help:"Its key." placeholder:"FILE"`
	AgentsCA string `name:"agents-ca" help:"Certificates of the authorities that agents are checked by, as PEM. Their certificates name cluster and node." placeholder:"FILE"`
	People   string `help:"YAML file of who may ask: names, roles, clusters and digests of tokens, of \"spoor pki token\". With TLS and without this file nobody may." placeholder:"FILE"`
	oidcFlags
	Audit      string            `help:"File that gets a JSON line for each question: who, from where, what; the log by default." placeholder:"FILE"`
	Forwarders map[string]string `help:"Other collectors that may forward what agents of these clusters tell, by the names in their certificates; an empty name is hosts outside of clusters." placeholder:"NAME=CLUSTER,CLUSTER;..."`
	WithoutTLS bool              `name:"without-tls" help:"Take agents and people without certificates, on a loopback address only."`
	Hosts      []string          `help:"Names under which it answers without TLS, besides addresses and localhost: those of a proxy on this host." placeholder:"NAME"`
}

// oidcFlags name an OpenID Connect provider.
type oidcFlags struct {
	OIDCIssuer   string `name:"oidc-issuer" help:"URL of an OpenID Connect provider; people whose groups stand in --people may ask with its tokens." placeholder:"URL"`
	OIDCAudience string `name:"oidc-audience" help:"What such a token must be made for: the client id that the provider has for this collector." placeholder:"ID"`
	OIDCGroups   string `name:"oidc-groups-claim" help:"The claim that has the groups of somebody." default:"groups"`
	OIDCName     string `name:"oidc-name-claim" help:"The claim that names somebody in the audit log; the subject where it is missing." default:"email"`
	OIDCCA       string `name:"oidc-ca" help:"Certificates of the authorities that the provider is checked by, as PEM; the system's by default." placeholder:"FILE"`
}

// open returns nil where there is no provider.
func (f *oidcFlags) open(people string) (*trust.OIDC, error) {
	switch {
	case f.OIDCIssuer == "" && f.OIDCAudience+f.OIDCCA != "":
		return nil, cli.BadInput(errors.New("--oidc-audience and --oidc-ca are for --oidc-issuer, which is not given"), "")
	case f.OIDCIssuer == "":
		return nil, nil //nolint:nilnil // nobody is asked
	case people == "":
		return nil, cli.BadInput(errors.New("--oidc-issuer is given, and no --people: that file says which groups may ask"), "An entry is {group: sre, role: responder}.")
	}
	o := trust.OIDCOptions{Issuer: f.OIDCIssuer, Audience: f.OIDCAudience, GroupsClaim: f.OIDCGroups, NameClaim: f.OIDCName}
	if f.OIDCCA != "" {
		source, err := credential.Open(credential.Files{CA: f.OIDCCA}, slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, cli.BadInput(fmt.Errorf("--oidc-ca: %w", err), "")
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig, _ = source.Client()
		o.Client = &http.Client{Transport: transport}
	}
	provider, err := trust.NewOIDC(o)
	if err != nil {
		return nil, cli.BadInput(err, "See --oidc-issuer and --oidc-audience.")
	}
	return provider, nil
}

// open reads the files.
func (f *accessFlags) open(listen string, logger *slog.Logger) (who access, done func() error, err error) {
	const fix = "\"spoor pki --help\" says how to make certificates."
	done = func() error { return nil }
	switch secure := f.TLSCert != "" || f.TLSKey != "" || f.AgentsCA != ""; {
	case secure && f.WithoutTLS:
		return who, done, cli.BadInput(errors.New("--without-tls is said, and certificates are named"), "Choose one.")
	case secure && (f.TLSCert == "" || f.TLSKey == "" || f.AgentsCA == ""):
		return who, done, cli.BadInput(errors.New("--tls-cert, --tls-key and --agents-ca belong together"), fix)
	case secure:
		source, err := credential.Open(credential.Files{Cert: f.TLSCert, Key: f.TLSKey, CA: f.AgentsCA}, logger)
		if err != nil {
			return who, done, cli.BadInput(fmt.Errorf("certificates cannot be read: %w", err), fix)
		}
		who.secure = source.Server()
	case !f.WithoutTLS:
		return who, done, cli.BadInput(errors.New("agents and people must be able to trust this collector, and it them: --tls-cert, --tls-key and --agents-ca are missing"),
			fix+" For agents and people on this host alone, say --without-tls.")
	case !collector.OnLoopback(listen):
		return who, done, cli.BadInput(fmt.Errorf("without TLS, %s would let everybody who can reach it read and forge everything", listen),
			"Listen on 127.0.0.1, or name certificates. "+fix)
	}
	provider, err := f.oidcFlags.open(f.People)
	if err != nil {
		return who, done, err
	}
	if f.People != "" {
		if who.people, err = trust.LoadPeople(f.People, provider, logger); err != nil {
			return who, done, cli.BadInput(err, "\"spoor pki token\" makes an entry.")
		}
	}
	if f.Audit != "" {
		file, err := os.OpenFile(f.Audit, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return who, done, cli.BadInput(fmt.Errorf("--audit: %w", err), "")
		}
		done, who.audit = file.Close, slog.New(slog.NewJSONHandler(file, nil))
	}
	who.hosts = f.Hosts
	who.forwarders = map[string][]string{}
	for name, clusters := range f.Forwarders {
		who.forwarders[name] = strings.Split(clusters, ",")
	}
	return who, done, nil
}

// objectFlags name a cluster whose objects are contracts.
type objectFlags struct {
	ContractsFromCluster string `help:"Judge also by the contracts that are objects of the Kubernetes cluster that its agents call so; each speaks for its own namespace alone." placeholder:"CLUSTER"`
	Kubeconfig           string `help:"How to reach that cluster's API server; the service account of the pod by default." placeholder:"FILE"`
}

// open returns nil where no cluster is named.
func (f *objectFlags) open(logger *slog.Logger, registry *prometheus.Registry) (*objects.Source, error) {
	switch {
	case f.ContractsFromCluster == "" && f.Kubeconfig != "":
		return nil, cli.BadInput(errors.New("--kubeconfig is for --contracts-from-cluster, which is not given"), "")
	case f.ContractsFromCluster == "":
		return nil, nil //nolint:nilnil // there is none
	}
	config, err := kube.Config(f.Kubeconfig)
	if err != nil {
		return nil, cli.BadInput(fmt.Errorf("--contracts-from-cluster: %w", err), "Outside of the cluster, name a --kubeconfig.")
	}
	config.UserAgent = "spoor-collector/" + cli.BuildInfo().Version
	return objects.New(objects.Options{Config: config, Cluster: f.ContractsFromCluster, Logger: logger, Registerer: registry})
}

type collectorCommand struct {
	centreFlags
	storeFlags
	accessFlags
	forwardFlags
	objectFlags
	cli.LogFlags
}

func (*collectorCommand) Help() string {
	return `Takes events from agents, judges them by the contracts, stores them under --data, or in the ClickHouse of --store, and answers questions: the commands of this program, the web page, /metrics and /healthz, all at one address. Agents prove by certificates which node they are on, people by tokens who they are; "spoor pki" makes both.

Examples:

    spoor collector --listen :7070 --tls-cert pki/collector.crt --tls-key pki/collector.key --agents-ca pki/ca.crt --people people.yaml
    spoor collector --without-tls --data ~/spoor --forward https://central.example:7070 --forward-cert eu.crt --forward-key eu.key --forward-ca ca.crt
    spoor collector --without-tls --data ~/spoor --alertmanager http://127.0.0.1:9093 --log-format json
    spoor collector --store clickhouse://spoor@ch1:8443,ch2:8443/spoor?secure=true --store-password-file password ...`
}

func (c *collectorCommand) Run(ctx context.Context, streams *cli.Streams) error {
	logger := c.Logger(streams.Err)
	who, done, err := c.accessFlags.open(c.Listen, logger)
	if err != nil {
		return err
	}
	to, err := c.forwardFlags.open(logger)
	if err != nil {
		return errors.Join(err, done())
	}
	in, err := c.storeFlags.open()
	if err == nil && in.address != nil && to.url != "" {
		err = cli.BadInput(errors.New("--store and --forward do not go together: several collectors would forward the same events"), "Forward from collectors that keep their events under --data.")
	}
	if err != nil {
		return errors.Join(err, done())
	}
	registry := cli.NewRegistry()
	of, err := c.objectFlags.open(logger, registry)
	if err != nil {
		return errors.Join(err, done())
	}
	centre, err := c.centreFlags.open(logger, registry, who, to, in, of)
	if err != nil {
		return errors.Join(err, done())
	}
	ctx, stop := context.WithCancel(ctx)
	var following sync.WaitGroup
	defer following.Wait()
	defer stop()
	if of != nil {
		following.Go(func() { of.Run(ctx) })
	}
	data := c.Data
	if in.address != nil {
		data = in.address.String()
	}
	logger.Info("collecting", "url", centre.URL()+"/", "data", data)
	if who.secure != nil && who.people == nil {
		logger.Warn("nobody may ask this collector; --people names who may")
	}
	if err := errors.Join(centre.Run(ctx), done()); err != nil {
		return cli.Failed(err, "")
	}
	return nil
}
