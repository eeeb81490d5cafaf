// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spoor/spoor/agent/kernel"
)

// cgroups make two workloads of the processes of one act: what two of one workload share is their own business.
type cgroups struct {
	dirs []string
	// roles are directories by the roles that processes play.
	roles map[string]string
}

// newCgroups makes the two, named like units of systemd, and like nobody else's. Without a hierarchy there are none.
func newCgroups() (*cgroups, error) {
	root, err := kernel.CgroupMount()
	if err != nil || root == "" {
		return &cgroups{}, err
	}
	name := "spoor-selftest-" + rand.Text()
	c := &cgroups{}
	for _, which := range []string{"one", "two"} {
		dir := filepath.Join(root, name+"-"+which+".service")
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, errors.Join(fmt.Errorf("two workloads that share: %w", err), c.remove())
		}
		c.dirs = append(c.dirs, dir)
	}
	c.roles = map[string]string{"actor": c.dirs[0], "other": c.dirs[1], "child": c.dirs[1], "server": c.dirs[1]}
	return c, nil
}

func (c *cgroups) remove() error {
	var errs []error
	for _, dir := range c.dirs {
		errs = append(errs, os.Remove(dir))
	}
	return errors.Join(errs...)
}
