// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"time"

	"github.com/spoor/spoor/agent/buffer"
	"github.com/spoor/spoor/agent/sensor"
	"github.com/spoor/spoor/agent/storage"
)

// tmpfs tells of a change of content only when a clock tick passed since the inode's last: what is written into a new file
// at once is not told. After this time a further write is (one tick at 100 Hz).
const blindness = 10 * time.Millisecond

// isBlind says whether a change made a file whose first content the file sensor may not see.
func (ch *change) isBlind() bool {
	made := ch.Op == sensor.NameCreated || ch.Op == sensor.NameLinked && ch.Path == ""
	return made && ch.FSType == "tmpfs" && !ch.Directory && ch.Inode.Number != 0 && ch.process != nil
}

// addUnseen looks at the new files on tmpfs that nobody is known to have written. One that has content was written by
// whoever made it, in the moment he did: any later write would have been seen. all: also at those of this moment.
func (a *Agent) addUnseen(now time.Time, all bool) {
	c := a.changes
	young := c.young[:0]
	for _, ch := range c.young {
		switch made := a.clock.Time(ch.Before); {
		case c.written.Has(ch.Inode):
		case now.Sub(made) < blindness && !all:
			young = append(young, ch)
		default:
			a.addFirstWrite(now, &ch)
		}
	}
	c.young = buffer.Cut(c.young, len(young))
}

func (a *Agent) addFirstWrite(now time.Time, ch *change) {
	found, ok := a.storage.Find(ch.Inode.Dev, ch.Inode.Number, ch.Inode.Generation)
	if !ok { // a tmpfs finds only what it gave out a handle of, as it does for the base tier
		found, ok = a.findByName(ch)
	}
	if !ok || !found.Regular || found.Size == 0 || found.Links == 0 {
		return
	}
	w := sensor.Write{
		Who: ch.process.Who, Inode: ch.Inode, First: ch.Before, Last: ch.Before, SizeAfter: found.Size, Links: found.Links,
		MntNS: ch.mntNS(), Data: true, Path: found.Path,
	}
	a.writes.Add(now, writeKey{w.Who, w.Inode}, write{Write: w, process: ch.process})
}

// findByName looks for the file that a change made under the latest name that is known of it.
func (a *Agent) findByName(ch *change) (storage.Found, bool) {
	name := a.changes.movedTo(ch.Inode)
	if name == "" {
		name = ch.Path
	}
	size, links, ok := a.storage.Stat(a.storage.Locate(ch.mntNS(), ch.Tgid, ch.Inode.Dev, name), ch.Inode.Number)
	return storage.Found{Path: name, Size: size, Links: links, Regular: ch.Regular}, ok
}
