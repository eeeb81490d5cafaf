// SPDX-License-Identifier: Apache-2.0

import { startDetail } from "./detail.js";
import { startEdges } from "./edges.js";
import { startEvents } from "./events.js";
import { startFindings } from "./findings.js";
import { startStatus } from "./status.js";
import { $ } from "./dom.js";

startDetail();
const status = startStatus();
const events = startEvents(status);

// Choosing a workload anywhere shows its events.
function watch(workload) {
  events.only(workload);
  $("events").scrollIntoView({ block: "nearest" });
}

startFindings({ ...status, watch });
startEdges({ ...status, watch });
