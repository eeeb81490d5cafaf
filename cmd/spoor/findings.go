// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"strings"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
)

type findingsCommand struct {
	List    findingsListCommand    `cmd:"" default:"withargs" help:"List findings; exits with 1 when one is open."`
	Show    findingsShowCommand    `cmd:"" help:"Show one finding with its evidence."`
	Ack     findingsAckCommand     `cmd:"" help:"Acknowledge findings: somebody is at it."`
	Resolve findingsResolveCommand `cmd:"" help:"Resolve findings: the cause is gone."`
}

func (*findingsCommand) Help() string {
	return `Without a word behind it, it lists.

Examples:

    spoor findings
    spoor findings show 3f2a9c01`
}

type findingsListCommand struct {
	Workload string   `short:"w" help:"Only of this workload, written as for events." placeholder:"WORKLOAD"`
	Rule     string   `help:"Only of this rule, for example state.local." placeholder:"RULE"`
	State    []string `help:"Only in these states: open, acknowledged, resolved, expired." placeholder:"STATE"`
	All      bool     `short:"a" help:"Resolved and expired ones too."`
	output
	remote
}

func (*findingsListCommand) Help() string {
	return `Lists findings that are open or acknowledged. Exits with 1 when one of those listed is open, so that a script can ask.

Examples:

    spoor findings
    spoor findings --workload shop/Deployment/checkout --all
    spoor findings --rule flow.egress -o json | jq -r .title
    spoor findings show 3f2a9c01
    spoor findings ack 3f2a9c01 --note "on it, see the incident channel"`
}

func (c *findingsListCommand) states() ([]spoorv1.FindingState, error) {
	var states []spoorv1.FindingState
	if c.All {
		states = everyState()
	}
	for _, s := range c.State {
		number, ok := spoorv1.FindingState_value["FINDING_STATE_"+strings.ToUpper(s)]
		if !ok || number == 0 {
			return nil, cli.BadInput(fmt.Errorf("there is no state %q", s), "The states are open, acknowledged, resolved and expired.")
		}
		states = append(states, spoorv1.FindingState(number))
	}
	return states, nil
}

func everyState() []spoorv1.FindingState {
	return []spoorv1.FindingState{
		spoorv1.FindingState_FINDING_STATE_OPEN, spoorv1.FindingState_FINDING_STATE_ACKNOWLEDGED,
		spoorv1.FindingState_FINDING_STATE_RESOLVED, spoorv1.FindingState_FINDING_STATE_EXPIRED,
	}
}

func (c *findingsListCommand) Run(ctx context.Context, streams *cli.Streams) error {
	states, err := c.states()
	if err != nil {
		return err
	}
	a, err := c.dial()
	if err != nil {
		return err
	}
	answer, err := ask(ctx, a, a.ListFindings, &spoorv1.ListFindingsRequest{States: states, Workload: c.Workload, Rule: c.Rule})
	if err != nil {
		return err
	}
	switch {
	case c.json():
		err = writeAll(streams.Out, answer.GetFindings(), jsonLine)
	case len(answer.GetFindings()) == 0:
		remark(streams, "No findings.")
	default:
		err = render.Findings(streams.Out, c.style(streams), answer.GetFindings())
	}
	if err != nil {
		return err
	}
	completeness(streams, answer.GetCompleteness())
	for _, f := range answer.GetFindings() {
		if f.GetState() == spoorv1.FindingState_FINDING_STATE_OPEN {
			return cli.Found()
		}
	}
	return nil
}

type findingsShowCommand struct {
	ID string `arg:"" help:"The finding; a unique beginning of its id is enough."`
	output
	remote
}

func (*findingsShowCommand) Help() string {
	return `Examples:

    spoor findings show 3f2a9c01
    spoor findings show 3f2a -o json | jq .evidence`
}

func (c *findingsShowCommand) Run(ctx context.Context, streams *cli.Streams) error {
	a, err := c.dial()
	if err != nil {
		return err
	}
	answer, err := ask(ctx, a, a.GetFinding, &spoorv1.GetFindingRequest{Id: c.ID})
	if err != nil {
		return err
	}
	if c.json() {
		return render.JSON(streams.Out, answer)
	}
	return render.Finding(streams.Out, c.style(streams), answer.GetFinding(), answer.GetEvidence())
}

// answerFlags are what acknowledging and resolving have in common.
type answerFlags struct {
	ID   []string `arg:"" help:"The findings; a unique beginning of an id is enough."`
	Note string   `short:"m" help:"What to tell others about it; your name is put in front." placeholder:"TEXT"`
	output
	remote
}

type findingsAckCommand struct{ answerFlags }

func (*findingsAckCommand) Help() string {
	return `Examples:

    spoor findings ack 3f2a9c01
    spoor findings ack 3f2a9c01 77b0e1aa --note "known, fix is in review"`
}

func (c *findingsAckCommand) Run(ctx context.Context, streams *cli.Streams) error {
	return c.set(ctx, streams, spoorv1.FindingState_FINDING_STATE_ACKNOWLEDGED)
}

type findingsResolveCommand struct{ answerFlags }

func (*findingsResolveCommand) Help() string {
	return `A finding whose cause comes back is opened again.

Examples:

    spoor findings resolve 3f2a9c01 --note "cache moved to redis"`
}

func (c *findingsResolveCommand) Run(ctx context.Context, streams *cli.Streams) error {
	return c.set(ctx, streams, spoorv1.FindingState_FINDING_STATE_RESOLVED)
}

func (c *answerFlags) set(ctx context.Context, streams *cli.Streams, state spoorv1.FindingState) error {
	a, err := c.dial()
	if err != nil {
		return err
	}
	for _, id := range c.ID {
		answer, err := ask(ctx, a, a.UpdateFinding, &spoorv1.UpdateFindingRequest{Id: id, State: state, Note: signed(c.Note)})
		if err != nil {
			return err
		}
		if c.json() {
			if err := render.JSON(streams.Out, answer.GetFinding()); err != nil {
				return err
			}
			continue
		}
		f := answer.GetFinding()
		if _, err := fmt.Fprintf(streams.Out, "%s %s: %s\n", render.Printable(f.GetId()), render.State(f.GetState()), render.Printable(f.GetTitle())); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
	}
	return nil
}

// signed puts the name of the person in front of what they said. Under sudo that is not root.
func signed(note string) string {
	name := os.Getenv("SUDO_USER")
	if u, err := user.Current(); name == "" && err == nil {
		name = u.Username
	}
	switch {
	case name == "":
		return note
	case note == "":
		return name
	default:
		return name + ": " + note
	}
}
