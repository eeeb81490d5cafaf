// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"fmt"
	"os"

	"github.com/spoor/spoor/cmd/spoor/internal/objects"
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

// agreements are the contracts of a folder and those that are objects of a cluster, as far as there are any.
type agreements struct {
	folder *contractFolder
	// Those of the folder.
	files   *contract.Set
	objects *objects.Source
}

// changed returns all contracts when some are others than when it was asked last. It is a collector's Reload.
func (a *agreements) changed() (*contract.Set, bool, error) {
	changed := false
	if a.folder != nil {
		set, news, err := a.folder.changed()
		if err != nil {
			return nil, false, err
		}
		if changed = news; changed {
			a.files = set
		}
	}
	if a.objects == nil {
		return a.files, changed, nil
	}
	if !changed && !a.objects.Changed() {
		return nil, false, nil
	}
	set, err := a.objects.Join(a.files.Contracts())
	return set, err == nil, err
}
