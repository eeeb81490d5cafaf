// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"

	"github.com/spoor/spoor/agent"
	"github.com/spoor/spoor/agent/sensor/pin"
)

// Unpin takes out of the kernel what agents left below dir, which may be a value of PinFlag.
func Unpin(dir string, streams *Streams) error {
	switch dir {
	case "", agent.PinAuto, agent.PinOff:
		dir = agent.DefaultPin
	}
	found, err := pin.Remove(dir)
	if held, ok := errors.AsType[*pin.HeldError](err); ok {
		return Failed(held, "Stop that agent first.")
	}
	if err != nil {
		return Failed(err, "")
	}
	what := "nothing was left of any agent below " + dir
	if found {
		what = "removed what agents left in the kernel, below " + dir
	}
	fmt.Fprintln(streams.Out, what)
	return nil
}
