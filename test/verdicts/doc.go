// SPDX-License-Identifier: Apache-2.0

// Command verdicts runs real programs, each as a unit of its own that lives twice under the load of a small client, beside one
// `spoor up`, and compares what Spoor says of them with answers that were written down before (answers.yaml). It writes the table
// of all verdicts, and with how much right each rule speaks, as docs/verdicts.md, and ends with 1 when a verdict is wrong.
//
// `make test-verdicts` installs the programs and runs it; it takes some minutes, needs root, and makes units (cgroups) called
// verdict-NAME.service and a folder below /var/lib, which it removes.
package main
