// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
	"github.com/spoor/spoor/contract"
	"github.com/spoor/spoor/contract/export"
)

type contractExportCommand struct {
	As        string   `arg:"" help:"networkpolicy, cilium (a CiliumNetworkPolicy) or readonly (a patch with securityContext and emptyDir volumes)." enum:"networkpolicy,cilium,readonly"`
	Contracts []string `arg:"" name:"contracts" help:"Files or folders of contracts."`
	Manifests string   `help:"Manifests that say by which labels pods are selected, and which ports of pods are behind those of services: a file, a folder, or - for what kubectl prints on standard input." placeholder:"PATH"`
	Container string   `help:"Name of the container that the read-only patch is for; by default that of the workload." placeholder:"NAME"`
}

func (*contractExportCommand) Help() string {
	return `Turns contracts into what enforces them. What the target cannot express is written above it as a remark, with whether the object allows more or less than the contract. Exits with 1 when there is such a difference.

Examples:

    kubectl get deploy,sts,ds,svc -A -o yaml | spoor contract export networkpolicy contracts --manifests -
    spoor contract export cilium contracts/shop --manifests k8s/
    spoor contract export readonly contracts/shop/deployment-checkout.yaml | kubectl patch deployment checkout --patch-file /dev/stdin`
}

func (c *contractExportCommand) Run(streams *cli.Streams) error {
	set, err := readContracts(c.Contracts...)
	if err != nil {
		return err
	}
	known, err := readManifests(c.Manifests, streams.In)
	if err != nil {
		return cli.BadInput(fmt.Errorf("--manifests: %w", err), "")
	}
	options := known.options()
	limited := false
	for i, agreed := range set.Contracts() {
		object, limits, err := c.export(agreed, options)
		if err != nil {
			fix := ""
			if errors.Is(err, export.ErrNoLabels) {
				fix = "--manifests names the manifests of the workloads, whose selectors say which labels their pods carry."
			}
			return cli.BadInput(err, fix)
		}
		text, err := export.YAML(object, limits)
		if err != nil {
			return err
		}
		if i > 0 {
			text = append([]byte("---\n"), text...)
		}
		if _, err := streams.Out.Write(text); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		for _, l := range limits {
			limited = true
			remark(streams, "%s: %s than the contract: %s: %s", agreed.FullName(), l.Effect, render.Printable(l.Line), render.Printable(l.Why))
		}
	}
	if limited {
		return cli.Found()
	}
	return nil
}

func (c *contractExportCommand) export(agreed *contract.Contract, o export.Options) (any, []export.Limit, error) {
	switch c.As {
	case "cilium":
		return both(export.ToCilium(agreed, o))
	case "readonly":
		container := c.Container
		if container == "" {
			container = string(agreed.Spec.Workload.Name)
		}
		return both(export.ToReadOnlyRoot(agreed, container))
	default:
		return both(export.ToNetworkPolicy(agreed, o))
	}
}

// both makes an object of any kind of what an export returns.
func both[T any](object *T, limits []export.Limit, err error) (any, []export.Limit, error) {
	return object, limits, err
}
