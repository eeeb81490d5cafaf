// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spoor/spoor/collector/ingest"
	"github.com/spoor/spoor/collector/store/clickhouse"
	"github.com/spoor/spoor/collector/trust"
	"github.com/spoor/spoor/contract"
)

// LeastMaxBytes is the least Options.MaxBytes.
const LeastMaxBytes = 16 << 20

// Options of a Collector. The zero value of a field takes the default that stands beside it.
type Options struct {
	// Address for agents, people and the web page: 127.0.0.1:7070. Without TLS it must be a loopback one.
	Listen string
	// Secures connections. Agents must have a certificate that it verifies, and people a token, then; nil for a collector that only
	// its own host can reach.
	TLS *tls.Config
	// Who may ask. nil is nobody with TLS, and everybody without.
	People *trust.People
	// Names under which it answers without TLS, besides addresses and localhost.
	Hosts []string
	// Gets one line for each question: Logger.
	Audit *slog.Logger
	// Folder that keeps the events. Required without ClickHouse.
	DataDir string
	// Where events are kept instead of in a folder: any number of collectors may share that.
	ClickHouse *clickhouse.Address
	// How ClickHouse is trusted where its address says that it is secure: as this host trusts servers.
	ClickHouseTLS *tls.Config
	// What is judged by; without contracts nothing is.
	Contracts *contract.Set
	// Reload, where it is set, is asked every few seconds for contracts that changed since it was asked last. After an error the old ones
	// go on to hold.
	Reload func() (set *contract.Set, changed bool, err error)
	// Alertmanager that findings are sent to; none by default.
	AlertmanagerURL string
	// How long events are kept: for ever.
	Retention time.Duration
	// What the store may take on disk, besides up to 64 MiB of log: anything. The oldest events go for it before Retention ends.
	MaxBytes int64
	// What agents may take of it.
	Limits ingest.Limits
	// Collectors that may speak for agents, by the names in their certificates, and of which clusters; "" is hosts outside of clusters.
	Forwarders map[string][]string
	// ForwardURL is where everything is forwarded to, another collector; nowhere by default. ForwardTLS says how connections to it are
	// secured, see forward.Options.
	ForwardURL string
	ForwardTLS func() (config *tls.Config, version uint64)

	Logger *slog.Logger
	// Where metrics are registered, and where /metrics reads them.
	Registerer prometheus.Registerer
	Gatherer   prometheus.Gatherer
	Version    string
}

func (o Options) withDefaults() Options {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:7070"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Audit == nil {
		o.Audit = o.Logger
	}
	if o.Registerer == nil {
		registry := prometheus.NewRegistry()
		o.Registerer, o.Gatherer = registry, registry
	}
	return o
}

func (o Options) validate() error {
	var errs []error
	if o.ClickHouse != nil && o.ForwardURL != "" {
		errs = append(errs, errors.New("option ForwardURL: a store that collectors share is where events are forwarded to, not from"))
	}
	if o.DataDir == "" && o.ClickHouse == nil {
		errs = append(errs, errors.New("option DataDir: no folder is given"))
	}
	if _, _, err := net.SplitHostPort(o.Listen); err != nil {
		errs = append(errs, fmt.Errorf("option Listen: %q is not an address like 127.0.0.1:7070: %w", o.Listen, err))
	} else if o.TLS == nil && !OnLoopback(o.Listen) {
		errs = append(errs, fmt.Errorf("option Listen: %q can be reached from elsewhere: that takes TLS", o.Listen))
	}
	if o.Gatherer == nil {
		errs = append(errs, errors.New("option Gatherer: a Registerer alone cannot be read for /metrics"))
	}
	if o.Retention < 0 {
		errs = append(errs, fmt.Errorf("option Retention: %s is negative", o.Retention))
	}
	if o.MaxBytes != 0 && o.MaxBytes < LeastMaxBytes {
		errs = append(errs, fmt.Errorf("option MaxBytes: %d is less than %d MiB, which leaves events no room", o.MaxBytes, LeastMaxBytes>>20))
	}
	if err := o.Limits.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("option Limits: %w", err))
	}
	return errors.Join(errs...)
}
