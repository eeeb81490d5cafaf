// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"strings"

	"github.com/spoor/spoor/agent/kernel"
	"github.com/spoor/spoor/agent/sensor"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// openChanges opens the best tier of the names sensor that this kernel and the agent's rights allow, and says what it cannot
// see; or that there is none.
func (a *Agent) openChanges() *spoorv1.Coverage {
	c := &spoorv1.Coverage{Sensor: "names", Tier: "off"}
	if a.without(c) {
		return c
	}
	changes, err := openChanges(a.o.Footprint)
	if err != nil {
		c.Reason = "renames, links and removals are not seen: " + err.Error()
		return c
	}
	tgid, ns := a.storage.Host()
	o := sensor.NamesOptions{HostTgid: tgid, HostNS: ns, Mounts: a.mountsOf}
	exact, why := a.openExactNames(o)
	if why == nil {
		changes.names, changes.exact = exact, exact
		a.changes = changes
		c.Tier = "full"
		c.Reason = "sees files made, linked, renamed and removed, and changes of attributes, on tmpfs and what lies on a disk"
		return c
	}
	base, err := sensor.OpenNames(o)
	if err != nil {
		c.Reason = "renames, links and removals are not seen: " + err.Error() + "; nor in the full tier: " + why.Error()
		return c
	}
	changes.names = base
	a.changes = changes
	c.Tier = "base"
	c.Reason = "sees files made, linked, renamed and removed, and changes of attributes, on " + strings.Join(base.Watched(), ", ") +
		"; who did it is known by process number alone, so not before an exec or after"
	if !base.Renames() {
		c.Reason += "; the kernel (before 5.17) does not tell which file lost its name, nor which two names a rename joins"
	}
	if unwatched := base.Unwatched(); len(unwatched) > 0 {
		c.Reason += "; not on " + strings.Join(unwatched, "; not on ")
	}
	c.Reason += "; not in the full tier: " + why.Error()
	return c
}

func (a *Agent) openExactNames(o sensor.NamesOptions) (*sensor.ExactNames, error) {
	if err := a.mayFull(); err != nil {
		return nil, err
	}
	return sensor.OpenExactNames(o, a.pins)
}

// mayFull says whether sensors may use what their full tiers are made of.
func (a *Agent) mayFull() error {
	if a.o.Tier == TierBase {
		return errTierBase
	}
	return kernel.Fentry()
}
