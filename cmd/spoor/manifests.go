// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/spoor/spoor/contract"
	"github.com/spoor/spoor/contract/export"
)

// manifest is what is read of an object of Kubernetes, or of a list of them.
type manifest struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Spec struct {
		// Of a Service the labels themselves, of what pods belong to metav1.LabelSelector.
		Selector json.RawMessage `json:"selector"`
		Template struct {
			Metadata struct {
				Labels map[string]string `json:"labels"`
			} `json:"metadata"`
			Spec struct {
				Containers []container `json:"containers"`
			} `json:"spec"`
		} `json:"template"`
		Ports []struct {
			Port       uint16             `json:"port"`
			NodePort   uint16             `json:"nodePort"`
			TargetPort intstr.IntOrString `json:"targetPort"`
			Protocol   string             `json:"protocol"`
		} `json:"ports"`
	} `json:"spec"`
	Items []manifest `json:"items"`
}

// ownerName names what pods belong to.
type ownerName struct{ namespace, kind, name string }

type container struct {
	Name         string   `json:"name"`
	Args         []string `json:"args"`
	VolumeMounts []struct {
		MountPath string `json:"mountPath"`
	} `json:"volumeMounts"`
}

// owner is how pods are selected, what labels they carry, and what is in them.
type owner struct {
	selector   export.LabelSelector
	labels     map[string]string
	containers []container
}

// manifests are what a cluster is made of, as far as policies need it.
type manifests struct {
	owners   map[ownerName]owner
	services []export.Service
	resolver export.Pods
	// Addresses of the resolver of each node.
	nodeResolvers []string
}

// readManifests reads a file, a folder, or standard input for "-"; nothing for "".
func readManifests(path string, stdin io.Reader) (*manifests, error) {
	found := &manifests{owners: map[ownerName]owner{}}
	switch path {
	case "":
		return found, nil
	case "-":
		return found, found.read(stdin)
	}
	return found, filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		ext := filepath.Ext(file)
		if err != nil || entry.IsDir() || file != path && ext != ".yaml" && ext != ".yml" && ext != ".json" {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := found.read(bytes.NewReader(data)); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		return nil
	})
}

func (f *manifests) read(r io.Reader) error {
	for d := yaml.NewYAMLOrJSONDecoder(r, 4096); ; {
		var m manifest
		switch err := d.Decode(&m); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		f.collect(&m)
	}
}

func (f *manifests) collect(m *manifest) {
	for i := range m.Items {
		f.collect(&m.Items[i])
	}
	namespace := m.Metadata.Namespace
	if namespace == "" {
		namespace = "default"
	}
	if m.Kind == "Service" {
		f.service(m, namespace)
		return
	}
	if m.Kind == "DaemonSet" {
		f.nodeResolver(m.Spec.Template.Spec.Containers)
	}
	if selector, ok := m.selector(); ok {
		f.owners[ownerName{namespace, m.Kind, m.Metadata.Name}] = owner{selector, m.Spec.Template.Metadata.Labels, m.Spec.Template.Spec.Containers}
	}
}

// selector is how an object finds its pods; false for one that has none, or none that is about labels.
func (m *manifest) selector() (export.LabelSelector, bool) {
	var s metav1.LabelSelector
	if len(m.Spec.Selector) == 0 || json.Unmarshal(m.Spec.Selector, &s) != nil {
		return export.LabelSelector{}, false
	}
	out := export.LabelSelector{MatchLabels: s.MatchLabels}
	for _, e := range s.MatchExpressions {
		out.MatchExpressions = append(out.MatchExpressions, export.Expression{Key: e.Key, Operator: string(e.Operator), Values: e.Values})
	}
	return out, len(out.MatchLabels) > 0 || len(out.MatchExpressions) > 0
}

func (f *manifests) service(m *manifest, namespace string) {
	var selector map[string]string
	if len(m.Spec.Selector) == 0 || json.Unmarshal(m.Spec.Selector, &selector) != nil || len(selector) == 0 {
		return
	}
	pods := export.Pods{Namespace: namespace, By: export.LabelSelector{MatchLabels: selector}}
	// Kubernetes' own resolver, and OpenShift's.
	if namespace == "kube-system" && m.Metadata.Name == "kube-dns" || namespace == "openshift-dns" && m.Metadata.Name == "dns-default" {
		f.resolver = pods
	}
	for _, p := range m.Spec.Ports {
		target := export.PodPort{Number: p.Port}
		switch {
		case p.TargetPort.Type == intstr.String:
			target = export.PodPort{Name: p.TargetPort.StrVal}
		case p.TargetPort.IntVal > 0 && p.TargetPort.IntVal < 1<<16:
			target.Number = uint16(p.TargetPort.IntVal)
		}
		s := export.Service{Pods: pods, Port: p.Port, Transport: contract.Transport(strings.ToLower(p.Protocol)), Target: target}
		f.services = append(f.services, s)
		if s.Port = p.NodePort; s.Port > 0 { // the same pods, by the address of any node
			f.services = append(f.services, s)
		}
	}
}

// nodeResolver finds where NodeLocal DNSCache answers (k8s.io/dns, cmd/node-cache): -localip 169.254.20.10,10.96.0.10.
func (f *manifests) nodeResolver(containers []container) {
	for _, c := range containers {
		for i, arg := range c.Args {
			name, addresses, ok := strings.Cut(strings.TrimLeft(arg, "-"), "=")
			if name != "localip" || !strings.HasPrefix(arg, "-") {
				continue
			}
			if !ok && i+1 < len(c.Args) {
				addresses = c.Args[i+1]
			}
			for address := range strings.SplitSeq(addresses, ",") {
				if a, err := netip.ParseAddr(strings.TrimSpace(address)); err == nil && !slices.Contains(f.nodeResolvers, a.String()) {
					f.nodeResolvers = append(f.nodeResolvers, a.String())
				}
			}
		}
	}
}

// options are the manifests as an export asks for them.
func (f *manifests) options() export.Options {
	return export.Options{
		Selector: func(namespace, kind, name string) (export.LabelSelector, bool) {
			o, ok := f.owners[ownerName{namespace, kind, name}]
			return o.selector, ok
		},
		TemplateLabels: func(namespace, kind, name string) map[string]string {
			return f.owners[ownerName{namespace, kind, name}].labels
		},
		Services: f.services, Resolver: f.resolver, NodeResolvers: f.nodeResolvers,
	}
}

// container finds the one that a patch is for, and where it has volumes: by its name, or the only one, or the one that is called like its
// workload. What no manifest tells of is taken to have none.
func (f *manifests) container(c *contract.Contract, name string) (string, []string, error) {
	w := c.Spec.Workload
	namespace := cmp.Or(string(w.Namespace), c.Metadata.Namespace)
	known := f.owners[ownerName{namespace, string(w.Kind), string(w.Name)}].containers
	if name == "" && len(known) == 1 {
		name = known[0].Name
	}
	name = cmp.Or(name, string(w.Name))
	if len(known) == 0 {
		return name, nil, nil
	}
	i := slices.IndexFunc(known, func(c container) bool { return c.Name == name })
	if i < 0 {
		var names []string
		for _, c := range known {
			names = append(names, c.Name)
		}
		return "", nil, fmt.Errorf("export %s: %s %s/%s has no container %s, but %s", c.FullName(), w.Kind, namespace, w.Name, name, strings.Join(names, ", "))
	}
	var dirs []string
	for _, m := range known[i].VolumeMounts {
		dirs = append(dirs, m.MountPath)
	}
	return name, dirs, nil
}
