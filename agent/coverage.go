// SPDX-License-Identifier: Apache-2.0

package agent

import spoorv1 "github.com/spoor/spoor/api/spoor/v1"

func processCoverage() *spoorv1.Coverage {
	return &spoorv1.Coverage{Sensor: "process", Tier: "base", Reason: "sees every fork, exec and exit; capabilities that change later are not followed"}
}

func fileCoverage() *spoorv1.Coverage {
	return &spoorv1.Coverage{Sensor: "file", Tier: "base", Reason: "sees changes of content; not, on xfs and btrfs, a second writer of a page that is dirty " +
		"already, nor, on tmpfs, what is written within 4 ms of the making of a file (sensor names sees that)"}
}
