// SPDX-License-Identifier: Apache-2.0

package agent

import spoorv1 "github.com/spoor/spoor/api/spoor/v1"

func processCoverage() *spoorv1.Coverage {
	return &spoorv1.Coverage{Sensor: "process", Tier: "base", Reason: "sees every fork, exec and exit; capabilities that change later are not followed"}
}
