// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// State says whether a workload may keep state on its node.
type State string

const (
	Stateless State = "stateless"
	Stateful  State = "stateful"
)

var states = []string{string(Stateless), string(Stateful)}

// UnmarshalText reads stateless or stateful.
func (s *State) UnmarshalText(text []byte) error { return oneOf(s, text, "a state", states) }

// DefaultState is what a workload is held to when its contract says nothing about state: what its kind
// promises. Kinds that promise nothing either way give "", which is not judged. That includes DaemonSet,
// whose pods belong to a node by design, and Pod, since static pods such as a control plane's database
// have no other owner.
func DefaultState(kind string) State {
	switch kind {
	case "Deployment", "ReplicaSet", "ReplicationController", "Job", "CronJob":
		return Stateless
	case "StatefulSet":
		return Stateful
	default:
		return ""
	}
}

// Transport is how bytes travel.
type Transport string

const (
	TCP  Transport = "tcp"
	UDP  Transport = "udp"
	SCTP Transport = "sctp"
)

var transports = []string{string(TCP), string(UDP), string(SCTP)}

// UnmarshalText reads tcp, udp or sctp.
func (t *Transport) UnmarshalText(text []byte) error {
	return oneOf(t, text, "a transport", transports)
}

// orTCP is the transport that is meant when none is written.
func (t Transport) orTCP() Transport {
	if t == "" {
		return TCP
	}
	return t
}

// transportOf gives the contract's word, "" for those that contracts do not speak of.
func transportOf(t spoorv1.Transport) Transport {
	switch t {
	case spoorv1.Transport_TRANSPORT_TCP:
		return TCP
	case spoorv1.Transport_TRANSPORT_UDP:
		return UDP
	case spoorv1.Transport_TRANSPORT_SCTP:
		return SCTP
	default:
		return ""
	}
}

// Class says what the files of a volume are.
type Class string

const (
	ClassCache    Class = "cache"
	ClassLog      Class = "log"
	ClassSession  Class = "session"
	ClassUpload   Class = "upload"
	ClassDatabase Class = "database"
	ClassLock     Class = "lock"
	ClassConfig   Class = "config"
	// ClassBinary are programs: what is written there may be executed.
	ClassBinary Class = "binary"
	// ClassData is whatever none of the others says.
	ClassData Class = "data"
)

var classes = []string{
	string(ClassCache), string(ClassLog), string(ClassSession), string(ClassUpload),
	string(ClassDatabase), string(ClassLock), string(ClassConfig), string(ClassBinary), string(ClassData),
}

// UnmarshalText reads the name of a class.
func (c *Class) UnmarshalText(text []byte) error { return oneOf(c, text, "a class", classes) }

// Operator is how an expression compares a label, in the words of Kubernetes.
type Operator string

const (
	In           Operator = "In"
	NotIn        Operator = "NotIn"
	Exists       Operator = "Exists"
	DoesNotExist Operator = "DoesNotExist"
)

var operators = []string{string(In), string(NotIn), string(Exists), string(DoesNotExist)}

// UnmarshalText reads In, NotIn, Exists or DoesNotExist.
func (o *Operator) UnmarshalText(text []byte) error { return oneOf(o, text, "an operator", operators) }

// hasValues says whether the operator compares with values.
func (o Operator) hasValues() bool { return o == In || o == NotIn }

func oneOf[T ~string](dst *T, text []byte, what string, words []string) error {
	s := string(text)
	if slices.Contains(words, s) {
		*dst = T(s)
		return nil
	}
	fix := "write " + list(words, "or")
	if word, ok := nearest(s, words); ok {
		fix = "write " + word
	}
	return faultf(fix, "%q is not %s", s, what)
}

// Purpose says in one word what a call is for.
type Purpose string

const (
	// BackingService marks a call to a database, queue or cache that holds the workload's state.
	BackingService Purpose = "backing-service"
	// SharedBackingService marks one that holds the state of other workloads as well, by agreement.
	SharedBackingService Purpose = "shared-backing-service"
)

var purposeForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// UnmarshalText reads one lower-case word.
func (p *Purpose) UnmarshalText(text []byte) error {
	if !purposeForm.Match(text) {
		return faultf("write a lower-case word such as backing-service", "%q is not a purpose", text)
	}
	*p = Purpose(text)
	return nil
}

// DNSName is a name that is resolved, in lower case and without a dot at its end. A * at the beginning stands
// for one or more whole labels, elsewhere for any characters within a label.
type DNSName string

var dnsLabelForm = regexp.MustCompile(`^[a-z0-9_*](?:[a-z0-9_*-]{0,61}[a-z0-9_*])?$`)

// UnmarshalText reads a name.
func (d *DNSName) UnmarshalText(text []byte) error {
	s := string(text)
	name := normalName(s)
	fix := "write a name such as api.example.com or *.example.com"
	switch {
	case strings.Contains(s, "://"):
		rest, _, _ := strings.Cut(strings.SplitN(s, "://", 2)[1], "/")
		host, _, _ := strings.Cut(rest, ":")
		return faultf("write the name alone: "+host, "%q is a URL", s)
	case strings.Contains(s, ":"):
		return faultf("write the port in its own field", "%q is not a DNS name", s)
	case len(name) > 253 || name == "":
		return faultf(fix, "%q is not a DNS name", s)
	case strings.Contains(name, "**"):
		return faultf("write *, which already stands for any number of labels", "%q has two * side by side", s)
	}
	for _, r := range name {
		if r > 0x7f {
			return faultf("write it in its ASCII form, which begins with xn--", "%q is not ASCII", s)
		}
	}
	for label := range strings.SplitSeq(name, ".") {
		if !dnsLabelForm.MatchString(label) {
			return faultf(fix, "%q is not a DNS name", s)
		}
	}
	*d = DNSName(name)
	return nil
}

// normalName is how DNS names are compared.
func normalName(s string) string { return strings.TrimSuffix(strings.ToLower(s), ".") }

// matches says whether the name, already normal, is covered.
func (d DNSName) matches(name string) bool {
	pattern := string(d)
	if pattern == "*" {
		return name != ""
	}
	if below, ok := strings.CutPrefix(pattern, "*."); ok {
		// One or more labels, then the rest: try the rest at every label boundary.
		for i := range len(name) {
			if name[i] == '.' && i > 0 && matchLabels(below, name[i+1:]) {
				return true
			}
		}
		return false
	}
	return matchLabels(pattern, name)
}

func matchLabels(pattern, name string) bool {
	if !strings.Contains(pattern, "*") {
		return pattern == name
	}
	for {
		pl, prest, pmore := strings.Cut(pattern, ".")
		nl, nrest, nmore := strings.Cut(name, ".")
		if !matchStar(pl, nl) || pmore != nmore {
			return false
		}
		if !pmore {
			return true
		}
		pattern, name = prest, nrest
	}
}

// NamePattern is one part of a workload's name, in which * stands for any characters. Nothing else is special:
// names of units hold backslashes and brackets.
type NamePattern string

// UnmarshalText reads a part of a workload's name.
func (p *NamePattern) UnmarshalText(text []byte) error {
	s := string(text)
	switch {
	case s == "":
		return faultf(`write a name, or "*" for every one`, "the name is empty")
	case len(s) > 253:
		return faultf("write at most 253 characters", "the name %q is too long", clip(s))
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return faultf("leave out spaces and control characters", "%q is not the name of a workload", s)
	case strings.Contains(s, "/"):
		return faultf("write namespace, kind and name in their own fields", "%q holds a slash", s)
	case strings.Contains(s, "**"):
		return faultf("write one *, which stands for any characters", "%q has two * side by side", s)
	}
	*p = NamePattern(s)
	return nil
}

// matches says whether the part is covered; no pattern covers all.
func (p NamePattern) matches(s string) bool { return p == "" || matchStar(string(p), s) }

func (p NamePattern) literal() bool { return p != "" && !strings.Contains(string(p), "*") }

// matchStar matches s against a pattern in which * stands for any bytes, in time proportional to
// the product of their lengths at worst.
func matchStar(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// Ref names workloads at the other end of a flow: [cluster/][namespace/]kind/name, * within a part. A part
// that is left out is that of the workload that the contract is about.
type Ref struct{ Cluster, Namespace, Kind, Name NamePattern }

// UnmarshalText reads kind/name, namespace/kind/name or cluster/namespace/kind/name.
func (r *Ref) UnmarshalText(text []byte) error {
	s := string(text)
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 4 {
		fix := "write namespace/kind/name, for example shop/Deployment/payments"
		if len(parts) == 1 && s != "" && !strings.ContainsAny(s, " \t\n") {
			fix = fmt.Sprintf("write its kind too: Deployment/%s, or namespace/Deployment/%[1]s", s)
		}
		return faultf(fix, "%q does not name a workload", s)
	}
	var ref Ref
	for i, dst := range []*NamePattern{&ref.Name, &ref.Kind, &ref.Namespace, &ref.Cluster} {
		if i >= len(parts) {
			break
		}
		if err := dst.UnmarshalText([]byte(parts[len(parts)-1-i])); err != nil {
			return faultf("write namespace/kind/name, for example shop/Deployment/payments", "%q does not name a workload", s)
		}
	}
	if f := checkKind(string(ref.Kind)); f != nil {
		return f
	}
	*r = ref
	return nil
}

func (r Ref) String() string {
	var parts []string
	for _, p := range []NamePattern{r.Cluster, r.Namespace, r.Kind, r.Name} {
		if p != "" {
			parts = append(parts, string(p))
		}
	}
	return strings.Join(parts, "/")
}

// MarshalText is String.
func (r Ref) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// matches says whether w is meant, seen from the workload self.
func (r Ref) matches(w, self *spoorv1.Workload) bool {
	return r.Name.matches(w.GetName()) && r.Kind.matches(w.GetKind()) &&
		partMatches(r.Namespace, w.GetNamespace(), self.GetNamespace()) &&
		partMatches(r.Cluster, w.GetCluster(), self.GetCluster())
}

func partMatches(pattern NamePattern, part, own string) bool {
	if pattern == "" {
		return part == own
	}
	return pattern.matches(part)
}

// podKinds are the kinds of owners of pods that Spoor knows; there are others too.
var podKinds = []string{"Deployment", "ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod", "Node"}

// checkKind finds kinds that are almost certainly misspelt: a known one but for a letter or its case.
func checkKind(kind string) *fault {
	kinds := append(spoorv1.NodeKinds(), podKinds...)
	if slices.Contains(kinds, kind) || strings.Contains(kind, "*") {
		return nil
	}
	for _, known := range kinds {
		if strings.EqualFold(kind, known) || strings.EqualFold(kind, known+"s") || len(kind) > 4 && distance(strings.ToLower(kind), strings.ToLower(known)) == 1 {
			return faultf("write "+known, "%q is not a kind of workload", kind)
		}
	}
	return nil
}
