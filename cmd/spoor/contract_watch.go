// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"fmt"
	"os"

	"github.com/spoor/spoor/contract"
)

// contractFolder reads contracts again when a file of the folder changed. It compares what the files hold: in a mounted ConfigMap every
// file is a link that is moved, and a checkout touches files that stay as they are.
type contractFolder struct {
	dir  string
	last [sha256.Size]byte
}

// watchContracts begins with the folder as it is.
func watchContracts(dir string) (*contractFolder, error) {
	f := &contractFolder{dir: dir}
	var err error
	f.last, err = f.digest()
	return f, err
}

// changed returns the contracts when they are others than when it was asked last.
func (f *contractFolder) changed() (*contract.Set, bool, error) {
	now, err := f.digest()
	if err != nil || now == f.last {
		return nil, false, err
	}
	f.last = now // an error is told once for each version
	set, err := loadContracts(f.dir)
	return set, err == nil, err
}

// digest is of the names and contents of all files that contracts are read from.
func (f *contractFolder) digest() (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	err = contract.Files(os.DirFS(f.dir), func(name string, data []byte) { fmt.Fprintf(h, "%q %d\n%s", name, len(data), data) })
	if err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, nil
}
