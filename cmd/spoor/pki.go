// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/pki"
	"github.com/spoor/spoor/cmd/spoor/internal/when"
	"github.com/spoor/spoor/collector/trust"
)

type pkiCommand struct {
	Init      pkiInitCommand      `cmd:"" help:"Make a certificate authority."`
	Collector pkiCollectorCommand `cmd:"" help:"Make a certificate for a collector."`
	Agent     pkiAgentCommand     `cmd:"" help:"Make a certificate for the agent of a node."`
	Forwarder pkiForwarderCommand `cmd:"" help:"Make a certificate for a collector that forwards to another one."`
	Token     pkiTokenCommand     `cmd:"" help:"Make a token for somebody who asks a collector."`
}

func (*pkiCommand) Help() string {
	return `Makes the certificates by which a collector and agents on several machines trust each other: enough to try it. An authority that you have already can make them as well: a collector's has its host names; an agent's has the usage "client authentication" and one URI name, spiffe://TRUST/cluster/CLUSTER/node/NODE.

Examples:

    spoor pki init
    spoor pki collector collector.example 10.0.0.7
    spoor pki agent --cluster prod node-1
    spoor pki forwarder eu
    spoor pki token --role responder oncall`
}

// pkiDir is where the authority is.
type pkiDir struct {
	PKI     string `name:"pki" help:"Folder of the authority." default:"pki"`
	Replace bool   `help:"Replace files that are there."`
}

// pkiLeaf is what certificates of others have in common.
type pkiLeaf struct {
	pkiDir
	Valid string `help:"How long the certificate is good." default:"52w"`
}

func (d *pkiDir) write(streams *cli.Streams, name string, p pki.Pair) error {
	if err := p.Write(d.PKI, name, d.Replace); err != nil {
		return cli.BadInput(err, "Choose another folder with --pki, or replace what is there with --replace.")
	}
	file := filepath.Join(d.PKI, name)
	fmt.Fprintf(streams.Out, "%s.crt\n%s.key\n", file, file)
	return nil
}

func (d *pkiDir) authority() (*pki.Authority, error) {
	a, err := pki.LoadAuthority(d.PKI)
	if err != nil {
		return nil, cli.BadInput(fmt.Errorf("there is no authority: %w", err), "Make one with \"spoor pki init\", or name its folder with --pki.")
	}
	return a, nil
}

// lifetime reads --valid.
func lifetime(valid string) (time.Duration, error) {
	d, err := when.Duration(valid)
	if err != nil {
		return 0, cli.BadInput(fmt.Errorf("--valid: %w", err), "")
	}
	return d, nil
}

// begin returns who signs a certificate, and how long it is good.
func (l *pkiLeaf) begin() (*pki.Authority, time.Duration, error) {
	valid, err := lifetime(l.Valid)
	if err != nil {
		return nil, 0, err
	}
	a, err := l.authority()
	return a, valid, err
}

type pkiInitCommand struct {
	pkiDir
	Valid       string `help:"How long the authority is good." default:"520w"`
	TrustDomain string `help:"The first part of the names of agents." default:"spoor"`
}

// Run makes an authority.
func (c *pkiInitCommand) Run(streams *cli.Streams) error {
	valid, err := lifetime(c.Valid)
	if err != nil {
		return err
	}
	p, err := pki.NewAuthority(c.TrustDomain, valid)
	if err != nil {
		return cli.BadInput(err, "")
	}
	return c.write(streams, "ca", p)
}

type pkiCollectorCommand struct {
	pkiLeaf
	Hosts []string `arg:"" name:"host" help:"Names and addresses by which agents and people reach it."`
}

// Run makes a collector's certificate.
func (c *pkiCollectorCommand) Run(streams *cli.Streams) error {
	a, valid, err := c.begin()
	if err != nil {
		return err
	}
	p, err := a.Collector(c.Hosts, valid)
	if err != nil {
		return cli.BadInput(err, "")
	}
	return c.write(streams, "collector", p)
}

type pkiAgentCommand struct {
	pkiLeaf
	Cluster string `help:"Cluster of the node, if it belongs to one." placeholder:"NAME"`
	Node    string `arg:"" help:"Name of the node."`
}

// Run makes an agent's certificate.
func (c *pkiAgentCommand) Run(streams *cli.Streams) error {
	a, valid, err := c.begin()
	if err != nil {
		return err
	}
	if a.Trust() == "" {
		return cli.BadInput(errors.New("the authority has no trust domain: \"spoor pki init\" made none like it"), "")
	}
	p, err := a.Agent(c.Cluster, c.Node, valid)
	if err != nil {
		return cli.BadInput(err, "")
	}
	name := c.Node
	if c.Cluster != "" {
		name = c.Cluster + "." + c.Node
	}
	return c.write(streams, name, p)
}

type pkiForwarderCommand struct {
	pkiLeaf
	Name string `arg:"" help:"Name of the collector that forwards; the other one has it in --forwarders."`
}

// Run makes the certificate of a collector that forwards.
func (c *pkiForwarderCommand) Run(streams *cli.Streams) error {
	a, valid, err := c.begin()
	if err != nil {
		return err
	}
	uri, err := trust.ForwarderURI(a.Trust(), c.Name)
	if err != nil {
		return cli.BadInput(err, "")
	}
	p, err := a.Named(uri, c.Name, valid)
	if err != nil {
		return cli.BadInput(err, "")
	}
	return c.write(streams, c.Name, p)
}

type pkiTokenCommand struct {
	Role     string   `help:"What it may do: viewer asks, responder also acknowledges and resolves findings, admin also runs SQL." enum:"viewer,responder,admin" default:"viewer"`
	Clusters []string `help:"Clusters that it may ask about; all by default." placeholder:"NAME"`
	Name     string   `arg:"" help:"Who has it."`
}

// Run makes a token. What only its owner should have goes to standard error, so that the rest can be appended to a file.
func (c *pkiTokenCommand) Run(streams *cli.Streams) error {
	token := "spoor_" + strings.ToLower(rand.Text())
	entry := struct {
		Name     string   `yaml:"name"`
		Role     string   `yaml:"role"`
		Clusters []string `yaml:"clusters,omitempty,flow"`
		Token    string   `yaml:"token"`
	}{c.Name, c.Role, c.Clusters, trust.Digest(token)}
	b, err := yaml.Marshal([]any{entry})
	if err != nil {
		return cli.Failed(fmt.Errorf("write the entry: %w", err), "")
	}
	fmt.Fprintf(streams.Out, "%s", b)
	fmt.Fprintf(streams.Err, "The token, which is told only now: %s\nAppend the entry above to the file that the collector has as --people.\n", token)
	return nil
}
