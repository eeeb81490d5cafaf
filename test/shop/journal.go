// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// Act is one thing that a service did.
type Act struct {
	Time time.Time `json:"time"`
	// write, call, serve, send or receive; ready when it can be called, done when it ends by itself.
	Act string `json:"act"`
	// Of write: as the service sees it.
	Path string `json:"path,omitempty"`
	// Of call and send: the service that was meant, and its address.
	Service string `json:"service,omitempty"`
	Peer    string `json:"peer,omitempty"`
	// Of call: this end. Of serve and receive: the caller's, as this end sees it.
	Client string `json:"client,omitempty"`
}

// journal writes acts as lines of JSON.
type journal struct {
	mu  sync.Mutex
	out *json.Encoder
}

func newJournal(w io.Writer) *journal { return &journal{out: json.NewEncoder(w)} }

func (j *journal) note(a Act) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	a.Time = time.Now()
	return j.out.Encode(a)
}
