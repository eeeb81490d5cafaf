// SPDX-License-Identifier: Apache-2.0

package agent

import spoorv1 "github.com/spoor/spoor/api/spoor/v1"

// baseCoverage says what the base tier of each sensor does not see.
func baseCoverage() []*spoorv1.Coverage {
	return []*spoorv1.Coverage{
		{Sensor: "process", Tier: "base", Reason: "sees every fork, exec and exit; capabilities that change later are not followed"},
		{Sensor: "file", Tier: "base", Reason: "does not see renames, links and unlinks, nor on xfs and btrfs a second writer of a page " +
			"that is dirty already"},
		{Sensor: "socket", Tier: "base", Reason: "sees TCP; not Unix sockets"},
	}
}
