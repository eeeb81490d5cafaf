// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/spoor/spoor/cmd/internal/cli"

type agentCommand struct{ cli.AgentFlags }

func (*agentCommand) Help() string {
	return `Loads the sensors into the kernel and ships what they see to a collector, until interrupted. It changes nothing on the host. It needs root, or the capabilities BPF, PERFMON, NET_ADMIN, SYS_PTRACE and DAC_READ_SEARCH.

Examples:

    sudo spoor agent --collector http://10.0.0.7:7070
    sudo spoor agent --cluster prod --node "$(hostname -f)" --metrics 127.0.0.1:7071 --log-format json`
}
