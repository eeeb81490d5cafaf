// SPDX-License-Identifier: Apache-2.0

package export

import (
	"strconv"
	"strings"

	"github.com/spoor/spoor/contract"
)

// CiliumNetworkPolicy is cilium.io/v2, as far as contracts need it.
type CiliumNetworkPolicy struct {
	APIVersion string     `yaml:"apiVersion"`
	Kind       string     `yaml:"kind"`
	Metadata   Meta       `yaml:"metadata"`
	Spec       CiliumSpec `yaml:"spec"`
}

// CiliumSpec restricts each direction that has rules. One empty rule restricts and allows nothing.
type CiliumSpec struct {
	EndpointSelector LabelSelector   `yaml:"endpointSelector"`
	Ingress          []CiliumIngress `yaml:"ingress,omitempty"`
	Egress           []CiliumEgress  `yaml:"egress,omitempty"`
}

// CiliumIngress allows peers on ports.
type CiliumIngress struct {
	FromEndpoints []LabelSelector `yaml:"fromEndpoints,omitempty"`
	FromCIDR      []string        `yaml:"fromCIDR,omitempty"`
	FromEntities  []string        `yaml:"fromEntities,omitempty"`
	ToPorts       []CiliumPorts   `yaml:"toPorts,omitempty"`
}

// CiliumEgress allows peers on ports.
type CiliumEgress struct {
	ToEndpoints []LabelSelector `yaml:"toEndpoints,omitempty"`
	ToCIDR      []string        `yaml:"toCIDR,omitempty"`
	ToEntities  []string        `yaml:"toEntities,omitempty"`
	ToFQDNs     []CiliumName    `yaml:"toFQDNs,omitempty"`
	ToPorts     []CiliumPorts   `yaml:"toPorts,omitempty"`
}

// CiliumName is a DNS name or a pattern, in which * stays within a label.
type CiliumName struct {
	MatchName    string `yaml:"matchName,omitempty"`
	MatchPattern string `yaml:"matchPattern,omitempty"`
}

// CiliumPorts are ports, and what may be asked there.
type CiliumPorts struct {
	Ports []CiliumPort `yaml:"ports"`
	Rules *CiliumRules `yaml:"rules,omitempty"`
}

// CiliumPort is a port, a range of ports, or with port 0 every port of a protocol.
type CiliumPort struct {
	Port     string `yaml:"port"`
	EndPort  uint16 `yaml:"endPort,omitempty"`
	Protocol string `yaml:"protocol"`
}

// CiliumRules let Cilium see the DNS answers that names are matched by.
type CiliumRules struct {
	DNS []CiliumName `yaml:"dns"`
}

// namespaceLabel is what Cilium calls the namespace of a pod.
const namespaceLabel = "k8s:io.kubernetes.pod.namespace"

// deepNames is how many labels below a domain are allowed for *.example.com.
const deepNames = 3

// ToCilium makes a CiliumNetworkPolicy of a contract for one workload of Kubernetes, or for those with its labels. A direction that the contract does not
// judge is not restricted.
func ToCilium(c *contract.Contract, o Options) (*CiliumNetworkPolicy, []Limit, error) {
	e := &exporter{contract: c, options: o}
	self, err := e.selected()
	if err != nil {
		return nil, nil, err
	}
	p := &CiliumNetworkPolicy{
		APIVersion: "cilium.io/v2", Kind: "CiliumNetworkPolicy",
		Metadata: Meta{Name: c.Metadata.Name, Namespace: self.Namespace},
		Spec:     CiliumSpec{EndpointSelector: self.By},
	}
	e.own = self.Namespace
	if c.Spec.Callers != nil || c.Spec.Listens != nil {
		if p.Spec.Ingress = e.ciliumIngress(); p.Spec.Ingress == nil {
			p.Spec.Ingress = []CiliumIngress{{}}
		}
	}
	if c.Spec.Calls != nil {
		if p.Spec.Egress = e.ciliumEgress(); p.Spec.Egress == nil {
			p.Spec.Egress = []CiliumEgress{{}}
		}
	}
	if p.Spec.Ingress == nil && p.Spec.Egress == nil {
		e.limit("spec", contract.Wider, "the contract has neither listens, callers nor calls: nothing is restricted")
	}
	return p, e.limits, nil
}

func ciliumPorts(ports []podPorts) []CiliumPorts {
	var out []CiliumPort
	for _, l := range ports {
		p := CiliumPort{Port: l.Name, Protocol: strings.ToUpper(string(l.transport))}
		if l.Name == "" {
			p.Port = strconv.Itoa(int(l.Number))
		}
		if l.last != l.Number {
			p.EndPort = l.last
		}
		out = append(out, p)
	}
	return []CiliumPorts{{Ports: out}}
}

func endpoints(p Pods) []LabelSelector {
	by := p.By.prefixed("k8s:")
	// Without a namespace a selector means the policy's own.
	by.MatchLabels[namespaceLabel] = p.Namespace
	return []LabelSelector{by}
}

func (e *exporter) ciliumIngress() []CiliumIngress {
	spec := &e.contract.Spec
	if spec.Callers == nil {
		if len(spec.Listens) == 0 {
			return nil
		}
		return []CiliumIngress{{FromEntities: []string{"all"}, ToPorts: ciliumPorts(portsOf(allListens(spec)...))}}
	}
	var rules []CiliumIngress
	for _, c := range spec.Callers {
		ports := callerPorts(spec, c)
		if len(ports) == 0 {
			e.limit(contract.Line(c), contract.Narrower, "the workload listens on none of these ports")
			continue
		}
		rule := CiliumIngress{ToPorts: ciliumPorts(portsOf(ports...))}
		if !c.CIDR.IsZero() {
			rule.FromCIDR = []string{c.CIDR.String()}
			e.limit(contract.Line(c), contract.Narrower, "Cilium does not match pods and nodes of the cluster by address")
		} else {
			who, ok := e.find(contract.Line(c), c.Workload)
			if !ok {
				continue
			}
			rule.FromEndpoints, rule.FromEntities = e.who(contract.Line(c), who)
		}
		rules = append(rules, rule)
	}
	return rules
}

// who selects pods, by the entity for all of the cluster.
func (e *exporter) who(line string, p peers) (selectors []LabelSelector, entities []string) {
	if p.Namespace == "" {
		e.limit(line, contract.Wider, "nodes of the cluster are allowed, too")
		return nil, []string{"cluster"}
	}
	return endpoints(p.Pods), nil
}

func (e *exporter) ciliumEgress() []CiliumEgress {
	spec := &e.contract.Spec
	var rules []CiliumEgress
	for _, c := range spec.Calls {
		called := contract.Listen{Port: c.Port, Transport: transport(c.Transport)}
		rule := CiliumEgress{ToPorts: ciliumPorts(portsOf(called))}
		switch {
		case !c.CIDR.IsZero():
			rule.ToCIDR = []string{c.CIDR.String()}
			e.limit(contract.Line(c), contract.Narrower, "Cilium does not match pods and nodes of the cluster by address")
		case c.DNS != "":
			rule.ToFQDNs = e.names(c)
		default:
			who, ok := e.find(contract.Line(c), c.Workload)
			if !ok {
				continue
			}
			rule.ToEndpoints, rule.ToEntities = e.who(contract.Line(c), who)
			rule.ToPorts = ciliumPorts(e.behind(contract.Line(c), who, called))
		}
		rules = append(rules, rule)
	}
	e.noteResolvers()
	if needsNames(e.contract) {
		ports := ciliumPorts(e.dnsPorts())
		ports[0].Rules = &CiliumRules{DNS: []CiliumName{{MatchPattern: "*"}}}
		rules = append(rules, CiliumEgress{ToEndpoints: endpoints(e.options.resolver()), ToPorts: ports})
	}
	return rules
}

// names writes a DNS name for Cilium, whose * stays within a label.
func (e *exporter) names(c contract.Call) []CiliumName {
	name := string(c.DNS)
	below, deep := strings.CutPrefix(name, "*.")
	switch {
	case name == "*":
		return []CiliumName{{MatchPattern: "*"}}
	case deep:
		e.limit(contract.Line(c), contract.Narrower, "names more than "+strconv.Itoa(deepNames)+" labels below "+below+" are not matched")
		var names []CiliumName
		for range deepNames {
			below = "*." + below
			names = append(names, CiliumName{MatchPattern: below})
		}
		return names
	case strings.Contains(name, "*"):
		return []CiliumName{{MatchPattern: name}}
	default:
		return []CiliumName{{MatchName: name}}
	}
}
