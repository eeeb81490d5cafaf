// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"time"

	"github.com/spoor/spoor/agent/netns"
	"github.com/spoor/spoor/agent/process"
)

// enterNetwork notes which addresses the instance of a process has: with them the collector names who is behind an address also where
// nobody but the other end saw a connection, as of datagrams that are sent and never answered.
func (a *Agent) enterNetwork(p *process.Process) {
	if p.Instance == nil || p.Instance.Elsewhere() || p.Proto.GetNetNs() == 0 {
		return
	}
	in := p.Instance.Proto()
	owner := netns.Owner{
		Key:       cmp.Or(in.GetPodUid(), in.GetContainerId(), in.GetId()),
		Container: in.GetPodUid() != "" || in.GetContainerId() != "",
	}
	if addresses := a.networks.Enter(p.Proto.GetNetNs(), p.Who.Tgid, owner, time.Now()); len(addresses) > 0 {
		p.Instance.SetAddresses(addresses)
	}
}
