// SPDX-License-Identifier: Apache-2.0

// Package report writes what contracts found in the forms that other programs read: JUnit's XML, SARIF, JSON.
//
// It is a set of pure functions of contracts and verdicts; it must not know where those come from.
package report

import "github.com/spoor/spoor/contract"

// byContract sorts verdicts by the name of the contract that they break.
func byContract(verdicts []contract.Verdict) map[string][]*contract.Verdict {
	m := map[string][]*contract.Verdict{}
	for i := range verdicts {
		v := &verdicts[i]
		m[v.Contract] = append(m[v.Contract], v)
	}
	return m
}
