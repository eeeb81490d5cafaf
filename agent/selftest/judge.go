// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spoor/spoor/agent/act"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// node is what decides which acts must be seen.
type node struct {
	release string
	tier    string
	sensors []Sensor
}

// lasting acts go on until they are told. What nobody will tell is not waited for.
func (n *node) lasting(a *act.Act) bool {
	_, known := n.gap(a.Name, "")
	seer := "socket"
	switch {
	case a.Group == act.GroupMemory:
		seer = "memory"
	case a.Joins:
		seer = "unix"
	}
	return a.Lasting && !known && n.sensor(seer).Tier != off
}

const off = "off"

func (n *node) sensor(name string) Sensor {
	for _, s := range n.sensors {
		if s.Name == name {
			return s
		}
	}
	return Sensor{Name: name}
}

// judge compares what was told with what must be.
func (n *node) judge(d done, events []*spoorv1.Event) Cell {
	report := d.report
	if report == nil {
		report = d.result.Judge(events)
	}
	c := d.cell(Seen, "")
	g, known := n.gap(d.act.Name, d.fs)
	switch {
	case len(report.Wrong) > 0 && !g.wrongly:
		c.State, c.Why = Wrong, report.String()
	case known && g.sometimes:
		c.State, c.Why = Sometimes, g.why
	case report.OK() && known:
		c.State, c.Why = Surprise, "it is seen, although it is listed as a gap: "+g.why
	case report.OK():
	case known:
		c.State, c.Why = Missed, g.why
	default:
		c.State, c.Why = Untold, report.String()
		if why := n.sensorsOff(report); why != "" {
			c.State, c.Why = Missed, why
		}
	}
	return c
}

// sensorsOff says why nothing of what is missing could be told, or "".
func (n *node) sensorsOff(report *act.Report) string {
	var why []string
	for i := range report.Gaps {
		s := n.sensor(sensorOf(&report.Gaps[i].Fact))
		if s.Tier != off {
			return ""
		}
		if text := fmt.Sprintf("sensor %s is off: %s", s.Name, s.Reason); !slices.Contains(why, text) {
			why = append(why, text)
		}
	}
	return strings.Join(why, "; ")
}

// sensorOf names the sensor that sees a fact.
func sensorOf(e *act.Expectation) string {
	switch e.Kind {
	case act.FileWrite:
		return "file"
	case act.FileChange:
		return "names"
	case act.Connection, act.Listening:
		transport := spoorv1.Transport_TRANSPORT_UNSPECIFIED
		if e.Flow != nil {
			transport = e.Flow.Transport
		} else if e.Listen != nil {
			transport = e.Listen.Transport
		}
		switch transport {
		case spoorv1.Transport_TRANSPORT_UDP:
			return "udp"
		case spoorv1.Transport_TRANSPORT_UNIX:
			return "unix"
		default:
			return "socket"
		}
	case act.Sharing:
		if e.Share != nil && e.Share.Kind == spoorv1.Share_KIND_MEMORY {
			return "memory"
		}
		return "unix"
	case act.ProcessStart, act.ProcessExit:
		return "process"
	default:
		return ""
	}
}
