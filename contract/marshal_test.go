// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// anyContract makes a valid contract of every shape, with the names that trip YAML up.
func anyContract(r *rand.Rand) *Contract {
	pick := func(words ...string) string { return words[r.IntN(len(words))] }
	part := func() NamePattern {
		return NamePattern(pick("*", "checkout", "y", "no", "null", "1", "0x1", "1e3", "~", "a:b", "#x", "a#b", "nginx@1.service", `x\x2d`, "{a}", "[a]", "&a", "!a", "'a'", `"a"`, "%a", "a,b", "ü", "true*", "12:30", "2026-01-01", "a=b", "|", ">", "@", "`"))
	}
	name := func() string { return pick("a", "b", "checkout.v1", "1", "0", "true", "null", "0x1f", "1e3", "no") }
	ref := func() Ref {
		ref := Ref{Kind: NamePattern(pick("Deployment", "*", "Unit", "Rollout")), Name: part()}
		if r.IntN(2) == 0 {
			ref.Namespace = part()
			if r.IntN(2) == 0 {
				ref.Cluster = part()
			}
		}
		return ref
	}
	ports := func() Ports {
		first := uint16(1 + r.IntN(65000))
		return []Ports{{}, Port(first), {first, first + uint16(r.IntN(500))}}[r.IntN(3)]
	}
	transport := func() Transport { return Transport(pick("", "tcp", "udp", "sctp")) }
	cidr := func() CIDR {
		addr := netip.AddrFrom4([4]byte{byte(r.IntN(256)), byte(r.IntN(256)), 1, 1})
		if r.IntN(2) == 0 {
			addr = netip.AddrFrom16([16]byte{0xfd, byte(r.IntN(256))})
		}
		p, _ := addr.Prefix(r.IntN(addr.BitLen() + 1))
		return CIDR{p}
	}
	c := &Contract{APIVersion: APIVersion, Kind: Kind, Metadata: Metadata{Name: name()}}
	c.Spec.Workload = Selector{Kind: NamePattern(pick("*", "Deployment", "Unit", "true")), Name: part()}
	if r.IntN(2) == 0 {
		c.Metadata.Namespace = name()
		c.Metadata.Labels = map[string]string{"a": name(), "b: c": "\"'\n\t", "": "", "ü": "\u2028", name(): "<&>"}
		c.Spec.Workload.Namespace, c.Spec.Workload.Cluster = part(), part()
	}
	if r.IntN(2) == 0 {
		c.Spec.Workload.MatchLabels = Selection{"app": pick("checkout", "1", "true", ""), "app.kubernetes.io/part-of": "shop"}
		if r.IntN(2) == 0 {
			c.Spec.Workload.Kind, c.Spec.Workload.Name = "", ""
		}
	}
	if r.IntN(2) == 0 {
		c.Spec.Owner = Owner{Team: pick("payments", "1", "", "a: b", "yes", " x "), Oncall: pick("", "#ops", "-", "?")}
	}
	c.Spec.State = State(pick("", "stateless", "stateful"))
	paths := []PathPattern{"/tmp/**", "/a b/*", `/a\*b`, "/x/[a-z]?/y", "/ü", "/#c", "/d: e", "/'q'", `/"r"`, "/t,u", "/-"}
	r.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
	for i := range r.IntN(4) {
		c.Spec.Scratch = append(c.Spec.Scratch, Scratch{Path: paths[i], MaxAge: Duration(r.IntN(100000)) * Duration(time.Second), MaxBytes: Bytes(r.IntN(1 << 40))})
	}
	for i := range r.IntN(4) {
		c.Spec.Volumes = append(c.Spec.Volumes, Volume{Path: paths[i], Class: Class(pick(classes...))})
	}
	lists := r.IntN(3)
	if lists > 0 {
		c.Spec.Listens, c.Spec.Callers, c.Spec.Calls = []Listen{}, []Caller{}, []Call{}
	}
	for i := range r.IntN(4) * (lists / 2) {
		c.Spec.Listens = append(c.Spec.Listens, Listen{Port: Port(uint16(i + 1)), Transport: transport()})
		c.Spec.Callers = append(c.Spec.Callers, []Caller{{Workload: ref(), Port: ports(), Transport: transport()}, {CIDR: cidr(), Port: Port(uint16(i + 1))}}[r.IntN(2)])
		c.Spec.Calls = append(c.Spec.Calls, []Call{
			{Workload: ref(), Port: ports(), Transport: transport(), Purpose: Purpose(pick("", "backing-service", "no"))},
			{DNS: DNSName(pick("a.b", "*.a.b", "*", "1", "null", "x-*.y")), Port: ports()},
			{CIDR: cidr(), Transport: transport()},
		}[r.IntN(3)])
	}
	return c
}

func TestMarshalIsReadBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	n := 0
	for range 1500 {
		c := anyContract(r)
		if c.Validate() != nil {
			continue // two entries happen to be the same
		}
		n++
		text, err := Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Parse("f.yaml", text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := cmp.Diff([]*Contract{c}, back, sameContract); diff != "" {
			t.Fatalf("%s\n%s", diff, text)
		}
	}
	if n < 800 {
		t.Errorf("only %d contracts were valid", n)
	}
}

func TestMarshalForm(t *testing.T) {
	contracts, err := Parse("f.yaml", []byte(doc("one", `{kind: Unit, name: "*"}`)+"---\n"+doc("two", `{kind: Unit, name: two}`)))
	if err != nil {
		t.Fatal(err)
	}
	contracts[0].Spec.Calls = []Call{}
	contracts[0].Spec.Scratch = []Scratch{{Path: "/tmp/**", MaxAge: Duration(day), MaxBytes: 1 << 20}}
	contracts[0].Spec.Listens = []Listen{{Port: Ports{1, 9}}}
	got, err := Marshal(contracts...)
	if err != nil {
		t.Fatal(err)
	}
	want := `apiVersion: spoor.dev/v1
kind: Contract
metadata: {name: one}
spec:
  workload: {kind: Unit, name: "*"}
  scratch:
    - {path: /tmp/**, maxAge: 1d, maxBytes: 1Mi}
  listens:
    - {port: 1-9}
  calls: []
---
apiVersion: spoor.dev/v1
kind: Contract
metadata: {name: two}
spec:
  workload: {kind: Unit, name: two}
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestMarshalRefusesWhatParseWould(t *testing.T) {
	_, err := Marshal(&Contract{APIVersion: APIVersion, Kind: Kind, Metadata: Metadata{Name: "c"}})
	if err == nil || !strings.Contains(err.Error(), `marshal contract "c": spec is missing`) {
		t.Error(err)
	}
}

func ExampleMarshal() {
	text, err := Marshal(&Contract{
		APIVersion: APIVersion, Kind: Kind,
		Metadata: Metadata{Name: "checkout", Namespace: "shop"},
		Spec: Spec{
			Workload: Selector{Kind: "Deployment", Name: "checkout"},
			Calls:    []Call{{DNS: "*.stripe.com", Port: Port(443)}},
		},
	})
	fmt.Print(string(text), err)
	// Output:
	// apiVersion: spoor.dev/v1
	// kind: Contract
	// metadata: {name: checkout, namespace: shop}
	// spec:
	//   workload: {kind: Deployment, name: checkout}
	//   calls:
	//     - {dns: "*.stripe.com", port: 443}
	// <nil>
}
