// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
	"github.com/spoor/spoor/contract"
	"github.com/spoor/spoor/contract/export"
)

type contractExportCommand struct {
	As        string   `arg:"" help:"networkpolicy, cilium (a CiliumNetworkPolicy) or readonly (a patch with securityContext and emptyDir volumes)." enum:"networkpolicy,cilium,readonly"`
	Contracts []string `arg:"" name:"contracts" help:"Files or folders of contracts."`
	Manifests string   `help:"Manifests that say by which labels pods are selected: a file, a folder, or - for what kubectl prints on standard input." placeholder:"PATH"`
	Container string   `help:"Name of the container that the read-only patch is for; by default that of the workload." placeholder:"NAME"`
}

func (*contractExportCommand) Help() string {
	return `Turns contracts into what enforces them. What the target cannot express is written above it as a remark, with whether the object allows more or less than the contract. Exits with 1 when there is such a difference.

Examples:

    kubectl get deploy,sts,ds -A -o yaml | spoor contract export networkpolicy contracts --manifests -
    spoor contract export cilium contracts/shop --manifests k8s/
    spoor contract export readonly contracts/shop/deployment-checkout.yaml | kubectl patch deployment checkout --patch-file /dev/stdin`
}

func (c *contractExportCommand) Run(streams *cli.Streams) error {
	set, err := readContracts(c.Contracts...)
	if err != nil {
		return err
	}
	labels, err := c.labels(streams.In)
	if err != nil {
		return err
	}
	limited := false
	for i, agreed := range set.Contracts() {
		object, limits, err := c.export(agreed, export.Options{PodLabels: func(namespace, kind, name string) (map[string]string, bool) {
			l, ok := labels[ownerName{namespace, kind, name}]
			return l, ok
		}})
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

// ownerName names what pods belong to.
type ownerName struct{ namespace, kind, name string }

// manifest is what is read of an object of Kubernetes, or of a list of them.
type manifest struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Spec struct {
		Selector struct {
			MatchLabels map[string]string `json:"matchLabels"`
		} `json:"selector"`
	} `json:"spec"`
	Items []manifest `json:"items"`
}

// labels reads by which labels the pods of each workload are selected.
func (c *contractExportCommand) labels(stdin io.Reader) (map[ownerName]map[string]string, error) {
	found := map[ownerName]map[string]string{}
	var err error
	switch c.Manifests {
	case "":
	case "-":
		err = readManifests(stdin, found)
	default:
		err = filepath.WalkDir(c.Manifests, func(path string, entry fs.DirEntry, err error) error {
			ext := filepath.Ext(path)
			if err != nil || entry.IsDir() || path != c.Manifests && ext != ".yaml" && ext != ".yml" && ext != ".json" {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if err := readManifests(bytes.NewReader(data), found); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			return nil
		})
	}
	if err != nil {
		return nil, cli.BadInput(fmt.Errorf("--manifests: %w", err), "")
	}
	return found, nil
}

func readManifests(r io.Reader, found map[ownerName]map[string]string) error {
	for d := yaml.NewYAMLOrJSONDecoder(r, 4096); ; {
		var m manifest
		switch err := d.Decode(&m); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		m.collect(found)
	}
}

func (m *manifest) collect(found map[ownerName]map[string]string) {
	for i := range m.Items {
		m.Items[i].collect(found)
	}
	if len(m.Spec.Selector.MatchLabels) > 0 {
		namespace := m.Metadata.Namespace
		if namespace == "" {
			namespace = "default"
		}
		found[ownerName{namespace, m.Kind, m.Metadata.Name}] = m.Spec.Selector.MatchLabels
	}
}
