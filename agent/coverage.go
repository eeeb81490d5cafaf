// SPDX-License-Identifier: Apache-2.0

package agent

import spoorv1 "github.com/spoor/spoor/api/spoor/v1"

// baseCoverage says what the base tier of each sensor does not see. walks: the socket sensor can walk sockets.
func baseCoverage(walks bool) []*spoorv1.Coverage {
	tcp := "sees TCP; not Unix sockets"
	if !walks {
		tcp += ", nor connections older than the agent, nor bytes before a connection closes (kernel before 5.11)"
	}
	return []*spoorv1.Coverage{
		{Sensor: "process", Tier: "base", Reason: "sees every fork, exec and exit; capabilities that change later are not followed"},
		{Sensor: "file", Tier: "base", Reason: "sees changes of content; not, on xfs and btrfs, a second writer of a page that is dirty " +
			"already, nor, on tmpfs, what is written within 4 ms of the making of a file (sensor names sees that)"},
		{Sensor: "socket", Tier: "base", Reason: tcp},
	}
}
