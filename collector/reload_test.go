// SPDX-License-Identifier: Apache-2.0

package collector_test

import (
	"errors"
	"sync"
	"testing"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector"
	"github.com/spoor/spoor/contract"
)

// TestContractsThatChange: what new contracts allow is resolved while the collector runs, and broken ones change nothing.
func TestContractsThatChange(t *testing.T) {
	set := func(calls string) *contract.Set {
		parsed, err := contract.Parse("web.yaml", []byte("apiVersion: spoor.dev/v1\nkind: Contract\nmetadata: {name: web, namespace: shop}\n"+
			"spec:\n  workload: {kind: Deployment, name: web}\n  calls: "+calls+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := contract.NewSet(parsed...)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	var mu sync.Mutex
	asked, wider := 0, false
	c := start(t, collector.Options{Contracts: set("[]"), Reload: func() (*contract.Set, bool, error) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		switch {
		case asked == 1:
			return nil, false, errors.New("web.yaml: not a contract")
		case wider:
			wider = false
			return set("[{cidr: 0.0.0.0/0}]"), true, nil
		}
		return nil, false, nil
	}})
	web := newStory("node1", "web")
	web.tell(web.process("client"), calls("10.0.0.1", "192.0.2.7", 443, 40000))
	c.ship(newAgent("node1"), web.next())
	state := func() spoorv1.FindingState {
		answer, err := c.people().ListFindings(t.Context(), connect.NewRequest(&spoorv1.ListFindingsRequest{States: []spoorv1.FindingState{
			spoorv1.FindingState_FINDING_STATE_OPEN, spoorv1.FindingState_FINDING_STATE_RESOLVED,
		}}))
		if err != nil {
			t.Fatal(err)
		}
		if f := answer.Msg.GetFindings(); len(f) > 0 {
			return f[0].GetState()
		}
		return spoorv1.FindingState_FINDING_STATE_UNSPECIFIED
	}
	eventually(t, "a finding", func() bool { return state() == spoorv1.FindingState_FINDING_STATE_OPEN })
	eventually(t, "asked for contracts", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return asked > 0
	})
	if got := state(); got != spoorv1.FindingState_FINDING_STATE_OPEN {
		t.Errorf("after contracts that cannot be read it is %s", got)
	}
	mu.Lock()
	wider = true
	mu.Unlock()
	eventually(t, "the finding is resolved", func() bool { return state() == spoorv1.FindingState_FINDING_STATE_RESOLVED })
}
