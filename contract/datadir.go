// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"path"
	"slices"
	"strings"
)

// serverFiles are names that only a database server's data directory holds. All of the directory is then one database, whatever its
// other files are called.
var serverFiles = []string{
	"/pg_wal/", "/pg_xact/", "/ibdata", "/ib_logfile", "/aria_log", "/member/snap/", "/member/wal/", "/appendonlydir/",
	"/queries.active", "/chunks_head/", // Prometheus
	"/jetstream/", // NATS
}

// maxDataDirs bounds the data directories of one workload.
const maxDataDirs = 16

// dataDirOf returns the data directory that a file's name gives away.
func dataDirOf(name string) (string, bool) {
	for _, part := range serverFiles {
		if i := strings.LastIndex(name, part); i > 0 {
			return name[:i], true
		}
	}
	return "", false
}

// noteDataDir remembers that a workload has a database server's data directory.
func (w *workload) noteDataDir(name string) {
	dir, ok := dataDirOf(name)
	if ok && strings.HasPrefix(dir, "/") && len(w.dataDirs) < maxDataDirs && !slices.Contains(w.dataDirs, dir) {
		w.dataDirs = append(w.dataDirs, dir)
	}
}

// dataDir returns the data directory that a file lies in.
func (w *workload) dataDir(name string) (string, bool) {
	for _, dir := range w.dataDirs {
		if strings.HasPrefix(name, dir+"/") {
			return dir, true
		}
	}
	return "", false
}

// ofServer is what a file in a data directory is.
func ofServer(dir string) fileKind {
	return fileKind{ClassDatabase, []string{"it lies in the data directory of a database server, " + printable(path.Clean(dir))}, toServer}
}
