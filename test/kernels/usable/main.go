// SPDX-License-Identifier: Apache-2.0

// Command usable ends with 0 when this kernel lets this user load the sensors, and says otherwise why not: then the
// tests of the real thing run in a virtual machine.
package main

import (
	"fmt"
	"os"

	"github.com/spoor/spoor/agent/kernel"
)

func main() {
	if err := kernel.Check(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
