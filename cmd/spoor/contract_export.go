// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
	"github.com/spoor/spoor/contract"
	"github.com/spoor/spoor/contract/export"
)

type contractExportCommand struct {
	As        string   `arg:"" help:"networkpolicy, cilium (a CiliumNetworkPolicy) or readonly (a patch with securityContext and emptyDir volumes)." enum:"networkpolicy,cilium,readonly"`
	Contracts []string `arg:"" name:"contracts" help:"Files or folders of contracts."`
	Manifests string   `help:"Manifests that say by which labels pods are selected, which ports of pods are behind those of services, and where volumes are mounted: a file, a folder, or - for what kubectl prints on standard input." placeholder:"PATH"`
	Container string   `help:"Name of the container that the read-only patch is for; by default the only one of the manifest, or that of the workload." placeholder:"NAME"`
	history
}

func (*contractExportCommand) Help() string {
	return `Turns contracts into what enforces them. What the target cannot express is written above it as a remark, with whether the object allows more or less than the contract. Exits with 1 when there is such a difference. With --since or --recording a read-only patch also says which processes would have failed, and where.

Examples:

    kubectl get deploy,sts,ds,svc -A -o yaml | spoor contract export networkpolicy contracts --manifests -
    spoor contract export cilium contracts/shop --manifests k8s/
    spoor contract export readonly contracts/shop/deployment-checkout.yaml --manifests k8s/ --since 7d | kubectl patch deployment checkout --patch-file /dev/stdin`
}

// exported is an object that was made of a contract.
type exported struct {
	agreed  *contract.Contract
	object  any
	limits  []export.Limit
	witness *export.Witness
}

func (c *contractExportCommand) Run(ctx context.Context, streams *cli.Streams) error {
	set, err := readContracts(c.Contracts...)
	if err != nil {
		return err
	}
	known, err := readManifests(c.Manifests, streams.In)
	if err != nil {
		return cli.BadInput(fmt.Errorf("--manifests: %w", err), "")
	}
	var all []*exported
	for _, agreed := range set.Contracts() {
		made, err := c.export(agreed, known)
		if err != nil {
			fix := ""
			if errors.Is(err, export.ErrNoLabels) {
				fix = "--manifests names the manifests of the workloads, whose selectors say which labels their pods carry."
			}
			return cli.BadInput(err, fix)
		}
		all = append(all, made)
	}
	if err := c.look(ctx, streams, all); err != nil {
		return err
	}
	return c.write(streams, all)
}

func (c *contractExportCommand) export(agreed *contract.Contract, known *manifests) (*exported, error) {
	switch c.As {
	case "cilium":
		object, limits, err := export.ToCilium(agreed, known.options())
		return &exported{agreed, object, limits, nil}, err
	case "readonly":
		container, mounted, err := known.container(agreed, c.Container)
		if err != nil {
			return nil, err
		}
		object, limits, err := export.ToReadOnlyRoot(agreed, container, mounted)
		if err != nil {
			return nil, err
		}
		witness, err := object.Witness(agreed, mounted)
		return &exported{agreed, object, limits, witness}, err
	default:
		object, limits, err := export.ToNetworkPolicy(agreed, known.options())
		return &exported{agreed, object, limits, nil}, err
	}
}

// look shows what happened to those who want to see it, if a time or a recording was named.
func (c *contractExportCommand) look(ctx context.Context, streams *cli.Streams, all []*exported) error {
	if c.Recording == "" && c.Since == "" && c.Until == "" {
		return nil
	}
	if c.As != "readonly" {
		return cli.BadInput(fmt.Errorf("what happened makes no difference to a %s", c.As), "Leave --recording, --since and --until out, or export readonly.")
	}
	err := c.each(ctx, streams, func(ev *spoorv1.Event) error {
		for _, made := range all {
			made.witness.Observe(ev)
		}
		return nil
	})
	for _, made := range all {
		made.limits = append(made.limits, made.witness.Limits()...)
	}
	return err
}

func (c *contractExportCommand) write(streams *cli.Streams, all []*exported) error {
	limited := false
	for i, made := range all {
		text, err := export.YAML(made.object, made.limits)
		if err != nil {
			return err
		}
		if i > 0 {
			text = append([]byte("---\n"), text...)
		}
		if _, err := streams.Out.Write(text); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		for _, l := range made.limits {
			limited = true
			remark(streams, "%s: %s than the contract: %s: %s", made.agreed.FullName(), l.Effect, render.Printable(l.Line), render.Printable(l.Why))
		}
	}
	if limited {
		return cli.Found()
	}
	return nil
}
