// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"strings"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Kind is what an event is about. The numbers are stored: they never change their meaning.
type Kind uint8

// The kinds. KindUnknown is a fact that a newer agent knows and this collector does not: it is kept, not understood.
const (
	KindUnknown      Kind = 0
	KindProcessStart Kind = 1
	KindProcessExit  Kind = 2
	KindFileWrite    Kind = 3
	KindFileChange   Kind = 4
	KindFlow         Kind = 5
	KindListen       Kind = 6
	KindDNS          Kind = 7
	KindShare        Kind = 8
	KindLoss         Kind = 9
	KindCoverage     Kind = 10
)

var kindNames = [...]string{
	KindUnknown:      "unknown",
	KindProcessStart: "process_start",
	KindProcessExit:  "process_exit",
	KindFileWrite:    "file_write",
	KindFileChange:   "file_change",
	KindFlow:         "flow",
	KindListen:       "listen",
	KindDNS:          "dns",
	KindShare:        "share",
	KindLoss:         "loss",
	KindCoverage:     "coverage",
}

// String returns the name as in Event.kind.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// ParseKind is the inverse of String.
func ParseKind(name string) (Kind, error) {
	for k, n := range kindNames {
		if n == name {
			return Kind(k), nil
		}
	}
	return 0, fmt.Errorf("unknown kind %q: use one of %s", name, strings.Join(kindNames[1:], ", "))
}

// KindOf looks at the fact that an event holds, not at its kind field.
func KindOf(ev *spoorv1.Event) Kind {
	switch ev.GetFact().(type) {
	case *spoorv1.Event_ProcessStart:
		return KindProcessStart
	case *spoorv1.Event_ProcessExit:
		return KindProcessExit
	case *spoorv1.Event_FileWrite:
		return KindFileWrite
	case *spoorv1.Event_FileChange:
		return KindFileChange
	case *spoorv1.Event_Flow:
		return KindFlow
	case *spoorv1.Event_Listen:
		return KindListen
	case *spoorv1.Event_Dns:
		return KindDNS
	case *spoorv1.Event_Share:
		return KindShare
	case *spoorv1.Event_Loss:
		return KindLoss
	case *spoorv1.Event_Coverage:
		return KindCoverage
	}
	return KindUnknown
}
