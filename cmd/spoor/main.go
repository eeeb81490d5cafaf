// SPDX-License-Identifier: Apache-2.0

// Command spoor watches Linux nodes and answers what it saw.
//
// `spoor up` runs the agent, the collector and the web page in one process; `spoor agent` and `spoor collector`
// run the halves; every other command asks a collector over its query service, as the web page does. It keeps no
// state of its own.
package main

import (
	"os"
	"strings"

	"github.com/spoor/spoor/agent/act"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/when"
)

// grammar is the whole command line. Each command has a file of its own.
type grammar struct {
	Config cli.ConfigFile `help:"YAML file with values for flags; read besides /etc/spoor/spoor.yaml." placeholder:"FILE"`
	// As a command it stands in the help.
	ShowVersion cli.VersionFlag `name:"version" env:"-" hidden:""`

	Up        upCommand        `cmd:"" group:"run" help:"Watch this host: agent, collector and web page in one process."`
	Agent     agentCommand     `cmd:"" group:"run" help:"Watch this host and ship what happens to a collector."`
	Collector collectorCommand `cmd:"" group:"run" help:"Collect from agents, judge, store and answer."`
	Store     storeCommand     `cmd:"" group:"run" help:"Check, back up and restore what a collector has stored."`
	Unpin     unpinCommand     `cmd:"" group:"run" help:"Take out of the kernel what agents leave there for the next one."`

	Events   eventsCommand   `cmd:"" group:"ask" help:"List or follow events."`
	Findings findingsCommand `cmd:"" group:"ask" help:"List findings, look into one, acknowledge or resolve it."`
	Edges    edgesCommand    `cmd:"" group:"ask" help:"List who talks to whom."`
	Report   reportCommand   `cmd:"" group:"ask" help:"Say of a workload whether it is stateless, what it opens to others, and what to change first."`
	Timeline timelineCommand `cmd:"" group:"ask" help:"Tell what a workload did, as a story."`
	Tree     treeCommand     `cmd:"" group:"ask" help:"Draw a process with its ancestors and descendants."`
	SQL      sqlCommand      `cmd:"" name:"sql" group:"ask" help:"Run one read-only SQL statement on the store."`
	Status   statusCommand   `cmd:"" group:"ask" help:"Say which agents report, what they can see, and what is stored."`

	Contract contractCommand `cmd:"" group:"agree" help:"Work on contracts: learn, check, compare, test, export."`
	Record   recordCommand   `cmd:"" group:"agree" help:"Write stored events to a file, to test contracts by."`

	Selftest selftestCommand `cmd:"" group:"about" help:"Say what can and cannot be seen on this host, proven by doing it."`
	PKI      pkiCommand      `cmd:"" name:"pki" group:"about" help:"Make certificates for collectors and agents, and tokens for people."`
	Version  versionCommand  `cmd:"" group:"about" help:"Say which version this is."`
}

func main() {
	act.Main() // a process of the self-test
	args := os.Args[1:]
	if len(args) == 0 {
		args = []string{"--help"}
	}
	os.Exit(cli.Program{
		Name:        "spoor",
		Description: "Spoor watches what every process writes and whom it talks to, and says what nobody agreed to.",
		Grammar:     &grammar{},
		Groups: []cli.Group{
			{Key: "run", Title: "Watch:"},
			{Key: "ask", Title: "Ask a collector:"},
			{Key: "agree", Title: "Agree:"},
			{Key: "about", Title: "Other:"},
		},
		Vars:    map[string]string{"kinds": strings.Join(eventKinds(), ", "), "times": when.Forms},
		Streams: cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr},
	}.Run(args))
}
