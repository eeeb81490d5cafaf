// SPDX-License-Identifier: Apache-2.0

package agent

import "github.com/spoor/spoor/agent/sensor"

// strangers are the images that a walk through the kernel saw and nobody told of. A walk may see an image before the record of
// its beginning is read, or even written, and who is named then would be told as found. So a stranger is left out once; who is
// still a stranger when the next walk comes will not be told of.
type strangers struct{ before, now map[sensor.Who]bool }

// isNew says whether to leave out an image in this walk.
func (s *strangers) isNew(who sensor.Who, known bool) bool {
	if known || s.before[who] {
		return false
	}
	if s.now == nil {
		s.now = map[sensor.Who]bool{}
	}
	s.now[who] = true
	return true
}

// turn ends a walk.
func (s *strangers) turn() { s.before, s.now = s.now, nil }
