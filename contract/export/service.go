// SPDX-License-Identifier: Apache-2.0

package export

import (
	"slices"

	"github.com/goccy/go-yaml"

	"github.com/spoor/spoor/contract"
)

// Service is a port of a Kubernetes Service: whoever calls it calls another port of the pods behind it.
type Service struct {
	// By their labels: a Service knows no expressions.
	Pods Pods
	Port uint16
	// Empty for TCP.
	Transport contract.Transport
	Target    PodPort
}

// PodPort is a port of a pod, by number or by the name that its containers give it.
type PodPort struct {
	Number uint16
	Name   string
}

// MarshalYAML writes the number or the name.
func (p PodPort) MarshalYAML() (any, error) {
	if p.Name != "" {
		return p.Name, nil
	}
	return p.Number, nil
}

// UnmarshalYAML reads either.
func (p *PodPort) UnmarshalYAML(data []byte) error {
	if err := yaml.Unmarshal(data, &p.Number); err != nil {
		return yaml.Unmarshal(data, &p.Name)
	}
	return nil
}

// podPorts are a port of pods, or a range of them from its number to another.
type podPorts struct {
	PodPort
	last      uint16
	transport contract.Transport
}

// portsOf are the ports of a contract's lines.
func portsOf(lines ...contract.Listen) []podPorts {
	var ports []podPorts
	for _, l := range lines {
		ports = append(ports, podPorts{PodPort{Number: l.Port.First}, l.Port.Last, l.Transport})
	}
	return ports
}

// dnsPorts are those on which names are resolved.
func (e *exporter) dnsPorts() []podPorts {
	var ports []podPorts
	for _, t := range []contract.Transport{contract.UDP, contract.TCP} {
		resolver := e.options.resolver()
		ports = append(ports, e.behind("", peers{Pods: resolver, labels: resolver.By.MatchLabels}, contract.Listen{Port: contract.Port(53), Transport: t})...)
	}
	return ports
}

// behind returns the ports of pods that a caller means by ports that it calls. A policy is about pods: by the time that it is asked, the
// address and the port of a service have been replaced.
func (e *exporter) behind(line string, who peers, called contract.Listen) []podPorts {
	own := portsOf(called)
	if called.Port == (contract.Ports{}) || len(e.options.Services) == 0 {
		return own
	}
	var ports []podPorts
	for _, s := range e.options.Services {
		p := podPorts{s.Target, s.Target.Number, called.Transport}
		if called.Port.First <= s.Port && s.Port <= called.Port.Last && transport(s.Transport) == called.Transport && s.selects(who) && !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
	}
	switch {
	case called.Port.First != called.Port.Last:
		return append(own, ports...)
	case ports != nil:
		return ports
	case who.labels == nil:
		e.limit(line, contract.Narrower, "which port of the pods is behind that of a service depends on the service: this is taken for a port of the pods")
	}
	return own
}

// selects says whether a service has the pods behind it. Pods that are known by their namespace alone are not.
func (s *Service) selects(who peers) bool {
	if s.Pods.Namespace != who.Namespace || len(s.Pods.By.MatchLabels) == 0 {
		return false
	}
	for key, value := range s.Pods.By.MatchLabels {
		if who.labels[key] != value {
			return false
		}
	}
	return true
}
