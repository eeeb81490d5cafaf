// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent/storage"
	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// drive builds the driver of volumes and starts it beside every kubelet, which must take it.
func (l *lab) drive() {
	l.Helper()
	driver, err := filepath.Abs(filepath.Join(l.temp, "driver"))
	if err != nil {
		l.Fatal(err)
	}
	l.command("env", "CGO_ENABLED=0", "go", "-C", "csi", "build", "-o", driver, ".")
	for i := 1; i <= nodes; i++ {
		node := fmt.Sprintf("node%d", i)
		data := filepath.Join(l.run, node, "driven")
		if err := os.MkdirAll(data, 0o750); err != nil {
			l.Fatal(err)
		}
		d := l.start("csi"+node, node, driver, "-node", node, "-kubelet", filepath.Join(l.run, node, "kubelet"), "-data", data)
		l.until("the driver of volumes of "+node, func() bool { return strings.Contains(d.said(), "registered") })
	}
}

// Where files on volumes of drivers are is known of the node alone, too, as it has to be where nobody may ask the API server.
func (l *lab) drivenByTheNodeAlone() {
	l.Helper()
	places, err := storage.New()
	if err != nil {
		l.Fatal(err)
	}
	defer func() {
		if err := places.Close(); err != nil {
			l.Error(err)
		}
	}()
	host, ns := places.Host()
	for name, want := range map[string]spoorv1.StorageClass{
		"disk-9": spoorv1.StorageClass_STORAGE_CLASS_PERSISTENT_VOLUME, "drafts": spoorv1.StorageClass_STORAGE_CLASS_EPHEMERAL_VOLUME,
	} {
		at, err := filepath.Glob(filepath.Join(l.run, "node1", "kubelet", "pods", "*", "volumes", "kubernetes.io~csi", name, "mount", "item-1"))
		if err != nil || len(at) != 1 {
			l.Fatalf("volume %s is mounted at %v: %v", name, at, err)
		}
		var st unix.Stat_t
		if err := unix.Stat(at[0], &st); err != nil {
			l.Fatal(err)
		}
		got := places.Locate(ns, host, unix.Major(st.Dev)<<20|unix.Minor(st.Dev), "/item-1")
		if got.Class != want || got.Volume.Name != name || got.Volume.Type != "csi" || got.HostPath != at[0] {
			l.Errorf("%s is %+v, want %v", at[0], got, want)
		}
	}
}
