// SPDX-License-Identifier: Apache-2.0

package scene

import (
	"bytes"
	"sync"
)

// Transcript keeps what a program writes, for whoever looks while it runs.
type Transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write takes what comes.
func (o *Transcript) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String is all of it until now.
func (o *Transcript) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
