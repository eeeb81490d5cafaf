// SPDX-License-Identifier: Apache-2.0

package export

import (
	"strings"

	"github.com/spoor/spoor/contract"
)

// NetworkPolicy is networking.k8s.io/v1, as far as contracts need it.
type NetworkPolicy struct {
	APIVersion string            `yaml:"apiVersion"`
	Kind       string            `yaml:"kind"`
	Metadata   Meta              `yaml:"metadata"`
	Spec       NetworkPolicySpec `yaml:"spec"`
}

// NetworkPolicySpec lists what is allowed in each direction of PolicyTypes; the other is not restricted.
type NetworkPolicySpec struct {
	PodSelector LabelSelector `yaml:"podSelector"`
	PolicyTypes []string      `yaml:"policyTypes"`
	Ingress     []IngressRule `yaml:"ingress,omitempty"`
	Egress      []EgressRule  `yaml:"egress,omitempty"`
}

// IngressRule allows peers on ports; none of either means all.
type IngressRule struct {
	From  []PolicyPeer `yaml:"from,omitempty"`
	Ports []PolicyPort `yaml:"ports,omitempty"`
}

// EgressRule allows peers on ports; none of either means all.
type EgressRule struct {
	To    []PolicyPeer `yaml:"to,omitempty"`
	Ports []PolicyPort `yaml:"ports,omitempty"`
}

// PolicyPeer is pods or a range of addresses.
type PolicyPeer struct {
	NamespaceSelector *LabelSelector `yaml:"namespaceSelector,omitempty"`
	PodSelector       *LabelSelector `yaml:"podSelector,omitempty"`
	IPBlock           *IPBlock       `yaml:"ipBlock,omitempty"`
}

// IPBlock is a range of addresses without some.
type IPBlock struct {
	CIDR   string   `yaml:"cidr"`
	Except []string `yaml:"except,omitempty"`
}

// PolicyPort is a port, a range of ports, or every port of a protocol.
type PolicyPort struct {
	Protocol string  `yaml:"protocol"`
	Port     PodPort `yaml:"port,omitempty"`
	EndPort  uint16  `yaml:"endPort,omitempty"`
}

// namespaceName is the label that Kubernetes itself puts on each namespace.
const namespaceName = "kubernetes.io/metadata.name"

// Addresses that are not on the Internet.
var (
	notPublic4 = []string{"10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"}
	notPublic6 = []string{"fc00::/7", "fe80::/10"}
)

// ToNetworkPolicy makes a NetworkPolicy of a contract for one workload of Kubernetes, or for those with its labels. A direction that the contract does
// not judge is not restricted. Calls by name are allowed to the whole Internet on their port, since a NetworkPolicy knows no
// names; what else it cannot express is left out. Both are among the limits.
func ToNetworkPolicy(c *contract.Contract, o Options) (*NetworkPolicy, []Limit, error) {
	e := &exporter{contract: c, options: o}
	self, err := e.selected()
	if err != nil {
		return nil, nil, err
	}
	p := &NetworkPolicy{
		APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy",
		Metadata: Meta{Name: c.Metadata.Name, Namespace: self.Namespace},
		Spec:     NetworkPolicySpec{PodSelector: self.By},
	}
	e.own = self.Namespace
	if c.Spec.Callers != nil || c.Spec.Listens != nil {
		p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, "Ingress")
		p.Spec.Ingress = e.ingress()
	}
	if c.Spec.Calls != nil {
		p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, "Egress")
		p.Spec.Egress = e.egress()
	}
	if p.Spec.PolicyTypes == nil {
		e.limit("spec", contract.Wider, "the contract has neither listens, callers nor calls: nothing is restricted")
		// One that restricts no direction is taken for one that lets nobody in.
		p.Spec.PolicyTypes, p.Spec.Ingress = []string{"Ingress"}, []IngressRule{{}}
	}
	return p, e.limits, nil
}

type exporter struct {
	contract *contract.Contract
	options  Options
	own      string
	limits   []Limit
}

func (e *exporter) limit(line string, effect contract.Effect, why string) {
	e.limits = append(e.limits, Limit{Line: line, Effect: effect, Why: why})
}

// find says which pods a line's reference means; when that cannot be said, the line is left out, and why is remarked.
func (e *exporter) find(line string, ref contract.Ref) (peers, bool) {
	who, why := e.options.find(ref, e.own)
	if why != "" {
		e.limit(line, contract.Narrower, why)
		return peers{}, false
	}
	return who, true
}

func policyPorts(ports []podPorts) []PolicyPort {
	var out []PolicyPort
	for _, l := range ports {
		p := PolicyPort{Protocol: strings.ToUpper(string(l.transport)), Port: l.PodPort}
		if l.last != l.Number {
			p.EndPort = l.last
		}
		out = append(out, p)
	}
	return out
}

func podPeer(p Pods) PolicyPeer {
	peer := PolicyPeer{NamespaceSelector: &LabelSelector{}, PodSelector: &p.By}
	if p.Namespace != "" {
		peer.NamespaceSelector.MatchLabels = map[string]string{namespaceName: p.Namespace}
	}
	return peer
}

func (e *exporter) ingress() []IngressRule {
	spec := &e.contract.Spec
	if spec.Callers == nil {
		if ports := policyPorts(portsOf(allListens(spec)...)); ports != nil {
			return []IngressRule{{Ports: ports}}
		}
		return nil
	}
	var rules []IngressRule
	for _, c := range spec.Callers {
		ports := callerPorts(spec, c)
		if len(ports) == 0 {
			e.limit(contract.Line(c), contract.Narrower, "the workload listens on none of these ports")
			continue
		}
		rule := IngressRule{Ports: policyPorts(portsOf(ports...))}
		if !c.CIDR.IsZero() {
			rule.From = []PolicyPeer{{IPBlock: &IPBlock{CIDR: c.CIDR.String()}}}
		} else {
			who, ok := e.find(contract.Line(c), c.Workload)
			if !ok {
				continue
			}
			rule.From = []PolicyPeer{podPeer(who.Pods)}
		}
		rules = append(rules, rule)
	}
	return rules
}

func (e *exporter) egress() []EgressRule {
	spec := &e.contract.Spec
	var rules []EgressRule
	for _, c := range spec.Calls {
		called := contract.Listen{Port: c.Port, Transport: transport(c.Transport)}
		rule := EgressRule{Ports: policyPorts(portsOf(called))}
		switch {
		case !c.CIDR.IsZero():
			rule.To = []PolicyPeer{{IPBlock: &IPBlock{CIDR: c.CIDR.String()}}}
		case c.DNS != "":
			e.limit(contract.Line(c), contract.Wider, "a NetworkPolicy knows no names: the whole Internet is allowed on this port, and nothing else")
			rule.To = []PolicyPeer{
				{IPBlock: &IPBlock{CIDR: "0.0.0.0/0", Except: notPublic4}},
				{IPBlock: &IPBlock{CIDR: "::/0", Except: notPublic6}},
			}
		default:
			who, ok := e.find(contract.Line(c), c.Workload)
			if !ok {
				continue
			}
			rule = EgressRule{To: []PolicyPeer{podPeer(who.Pods)}, Ports: policyPorts(e.behind(contract.Line(c), who, called))}
		}
		rules = append(rules, rule)
	}
	e.noteResolvers()
	if needsNames(e.contract) {
		rules = append(rules, EgressRule{To: []PolicyPeer{podPeer(e.options.resolver())}, Ports: policyPorts(e.dnsPorts())})
	}
	return rules
}
