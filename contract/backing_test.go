// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"strings"
	"testing"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// sellers are two workloads that may call anybody, as far as rules about calls go.
const (
	seller = `
apiVersion: spoor.dev/v1
kind: Contract
metadata: {name: checkout, namespace: shop}
spec:
  workload: {kind: Deployment, name: checkout}
  calls: [{cidr: 0.0.0.0/0}]
`
	agreedSeller = `
apiVersion: spoor.dev/v1
kind: Contract
metadata: {name: checkout, namespace: shop}
spec:
  workload: {kind: Deployment, name: checkout}
  calls: [{cidr: 0.0.0.0/0, purpose: shared-backing-service}]
`
	keeper = `
apiVersion: spoor.dev/v1
kind: Contract
metadata: {name: checkout, namespace: shop}
spec:
  workload: {kind: Deployment, name: checkout}
  calls: [{cidr: 0.0.0.0/0, port: 7777, purpose: backing-service}]
`
)

var postgres = &spoorv1.Workload{Cluster: "east", Namespace: "shop", Kind: "StatefulSet", Name: "postgres"}

func TestSharedStores(t *testing.T) {
	const pg = "medium share.database east/shop/StatefulSet/postgres:5432/tcp"
	for _, tc := range []struct {
		name     string
		contract string
		other    *spoorv1.Workload
		theirs   *spoorv1.Flow
		ours     *spoorv1.Flow
		want     []string
	}{
		{"one database", seller, payments, callOf(postgres, "10.1.0.9", 5432), callOf(postgres, "10.1.0.9", 5432), []string{pg}},
		{"by other addresses", seller, payments, callOf(postgres, "10.96.0.1", 5432), callOf(postgres, "10.1.0.9", 5432), []string{pg}},
		{"by a name", seller, payments, callNamed("db.example.com", "203.0.113.7", 5432), callNamed("db.example.com", "203.0.113.8", 5432), []string{"medium share.database db.example.com:5432/tcp"}},
		{"by an address on the Internet", seller, payments, call("203.0.113.7", 27017), call("203.0.113.7", 27017), []string{"medium share.database 203.0.113.7:27017/tcp"}},
		{"by a private address", seller, payments, call("10.9.9.9", 3306), call("10.9.9.9", 3306), []string{"medium share.database 10.9.9.9:3306/tcp"}},
		{"a cache", seller, payments, callOf(postgres, "10.1.0.9", 11211), callOf(postgres, "10.1.0.9", 11211), []string{"low share.database east/shop/StatefulSet/postgres:11211/tcp"}},
		{"another port of it", seller, payments, callOf(postgres, "10.1.0.9", 9187), callOf(postgres, "10.1.0.9", 9187), nil},
		{"another database", seller, payments, call("10.9.9.8", 5432), call("10.9.9.9", 5432), nil},
		{"no call of theirs came through", seller, payments, refused(callOf(postgres, "10.1.0.9", 5432)), callOf(postgres, "10.1.0.9", 5432), nil},
		{"another replica", seller, checkout, callOf(postgres, "10.1.0.9", 5432), callOf(postgres, "10.1.0.9", 5432), nil},
		{"the database itself", seller, postgres, callOf(postgres, "10.1.0.9", 5432), callOf(postgres, "10.1.0.9", 5432), nil},
		{"a person", seller, &spoorv1.Workload{Namespace: "node1", Kind: "Session", Name: "anna"}, callOf(postgres, "10.1.0.9", 5432), callOf(postgres, "10.1.0.9", 5432), nil},
		{"agreed to", agreedSeller, payments, callOf(postgres, "10.1.0.9", 5432), callOf(postgres, "10.1.0.9", 5432), nil},
		{"a web service", seller, payments, callOf(postgres, "10.1.0.9", 7777), callOf(postgres, "10.1.0.9", 7777), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScene(t, tc.contract)
			s.workload, s.instance = tc.other, "o1"
			s.soon(tc.theirs)
			s.workload, s.instance = checkout, "i1"
			s.soon(tc.ours, tc.want...)
		})
	}
}

func refused(f *spoorv1.Flow) *spoorv1.Flow {
	f.Opened, f.Refused = 0, 1
	return f
}

// A contract names a store that no port tells; who called it before it was known to be one is found at the next call.
func TestStoresByContract(t *testing.T) {
	s := newScene(t, keeper)
	s.sees(callOf(postgres, "10.1.0.9", 7777))
	s.workload, s.instance = payments, "p1"
	// The one with the contract is told, whoever comes second.
	s.sees(callOf(postgres, "10.1.0.9", 7777), "medium share.database east/shop/StatefulSet/postgres:7777/tcp")
	v := s.last[0]
	if want := "Deployment shop/checkout and east/shop/Deployment/payments call one backing store, east/shop/StatefulSet/postgres:7777/tcp"; v.Title != want {
		t.Errorf("title %q", v.Title)
	}
	if want := "- {workload: shop/StatefulSet/postgres, port: 7777, purpose: shared-backing-service}"; !strings.HasSuffix(v.Fix, want) {
		t.Errorf("fix %q", v.Fix)
	}
	s.tick(25*time.Hour, "cleared share.database east/shop/StatefulSet/postgres:7777/tcp")
	s.workload, s.instance = checkout, "i1"
	s.sees(callOf(postgres, "10.1.0.9", 7777)) // the other has stopped calling
	s.workload, s.instance = payments, "p1"
	s.sees(callOf(postgres, "10.1.0.9", 7777), "medium share.database east/shop/StatefulSet/postgres:7777/tcp")
	s.expect("reload", s.judge.Reload(mustSet(t, strings.Replace(keeper, "backing-service", "shared-backing-service", 1))),
		[]string{"cleared share.database east/shop/StatefulSet/postgres:7777/tcp"})
}

// The name of a store is waited for, so that there is one finding and it has the name.
func TestStoreThatIsNamedLate(t *testing.T) {
	s := newScene(t, seller)
	for _, w := range []*spoorv1.Workload{payments, checkout} {
		s.workload, s.instance = w, w.GetName()
		s.sees(call("10.1.0.9", 5432))
	}
	s.workload, s.instance = payments, "payments"
	s.sees(callOf(postgres, "10.1.0.9", 5432))
	s.workload, s.instance = checkout, "checkout"
	s.sees(callOf(postgres, "10.1.0.9", 5432), "medium share.database east/shop/StatefulSet/postgres:5432/tcp")
	s.tick(time.Minute)
}
