// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// The rules that a Judge knows. docs/rules.md tells what each looks at.
const (
	RuleStateLocal     = "state.local"
	RuleStateDatabase  = "state.database"
	RuleStateSession   = "state.session"
	RuleStateLog       = "state.log"
	RuleStateSurvives  = "state.survives"
	RuleFlowEgress     = "flow.egress"
	RuleFlowCaller     = "flow.caller"
	RuleFlowListener   = "flow.listener"
	RuleFlowProbe      = "flow.probe"
	RuleShareFile      = "share.file"
	RuleShareMemory    = "share.memory"
	RuleShareSocket    = "share.socket"
	RuleShareDatabase  = "share.database"
	RuleFlowContention = "flow.contention"
	RuleExecDrift      = "exec.drift"
	RuleBlindLoss      = "blind.loss"
	RuleBlindSensor    = "blind.sensor"
	RuleBlindAgent     = "blind.agent"
)

// Rules lists the rules that a Judge knows.
func Rules() []string {
	return []string{
		RuleStateLocal, RuleStateDatabase, RuleStateSession, RuleStateLog, RuleStateSurvives,
		RuleFlowEgress, RuleFlowCaller, RuleFlowListener, RuleFlowProbe, RuleFlowContention,
		RuleShareFile, RuleShareMemory, RuleShareSocket, RuleShareDatabase,
		RuleExecDrift, RuleBlindLoss, RuleBlindSensor, RuleBlindAgent,
	}
}

// Verdict says that a workload breaks its contract, or no longer does.
type Verdict struct {
	// One of the rules.
	Rule     string
	Severity spoorv1.Severity
	Workload *spoorv1.Workload
	// From the contract; nil when it names nobody.
	Owner *spoorv1.Owner
	// What it is about: a generalised path, peer:port/transport, or address:port/transport of a listener.
	Subject string
	// One sentence: what is wrong.
	Title string
	// Why it matters, with the facts.
	Why string
	// What to do, with the line to write.
	Fix string
	// The contract that is broken, namespace/name.
	Contract string
	// When it happened by the clock of the node; when it was over, for a cleared one.
	Time time.Time
	// The events that show it, oldest first.
	Evidence []*spoorv1.Event
	// The cause is gone; everything else is as it was last said.
	Cleared bool
}

// Fingerprint is equal for verdicts of one rule about one subject of one workload: hex SHA-256.
func (v *Verdict) Fingerprint() string {
	h := sha256.New()
	w := v.Workload
	for _, part := range []string{v.Rule, w.GetCluster(), w.GetNamespace(), w.GetKind(), w.GetName(), v.Subject} {
		_, _ = io.WriteString(h, part)
		// No name holds a NUL, so no two lists of parts give the same bytes.
		_, _ = h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil))
}
