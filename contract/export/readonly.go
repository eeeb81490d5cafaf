// SPDX-License-Identifier: Apache-2.0

package export

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/spoor/spoor/contract"
)

// ReadOnlyPatch is a strategic merge patch for an owner of pods: its container's root file system becomes read-only, and
// what the contract lets it write gets volumes.
type ReadOnlyPatch struct {
	APIVersion string       `yaml:"apiVersion"`
	Kind       string       `yaml:"kind"`
	Metadata   Meta         `yaml:"metadata"`
	Spec       ReadOnlySpec `yaml:"spec"`
}

// ReadOnlySpec is the spec of the owner.
type ReadOnlySpec struct {
	Template PodTemplate `yaml:"template"`
}

// PodTemplate is the template of its pods.
type PodTemplate struct {
	Spec PodSpec `yaml:"spec"`
}

// PodSpec is what is patched of a pod.
type PodSpec struct {
	Containers []Container `yaml:"containers"`
	Volumes    []Volume    `yaml:"volumes,omitempty"`
}

// Container is what is patched of a container.
type Container struct {
	Name            string          `yaml:"name"`
	SecurityContext SecurityContext `yaml:"securityContext"`
	VolumeMounts    []VolumeMount   `yaml:"volumeMounts,omitempty"`
}

// SecurityContext makes the root file system read-only.
type SecurityContext struct {
	ReadOnlyRootFilesystem bool `yaml:"readOnlyRootFilesystem"`
}

// VolumeMount mounts a volume.
type VolumeMount struct {
	Name      string `yaml:"name"`
	MountPath string `yaml:"mountPath"`
}

// Volume is an emptyDir.
type Volume struct {
	Name     string   `yaml:"name"`
	EmptyDir EmptyDir `yaml:"emptyDir"`
}

// EmptyDir is empty when its pod starts.
type EmptyDir struct {
	SizeLimit string `yaml:"sizeLimit,omitempty"`
}

// apiVersions of the owners whose pods have a template in spec.template.
var apiVersions = map[string]string{
	"Deployment": "apps/v1", "ReplicaSet": "apps/v1", "StatefulSet": "apps/v1", "DaemonSet": "apps/v1", "Job": "batch/v1",
}

// ToReadOnlyRoot makes the patch for one container of a contract's workload. Each directory that the contract lets it
// write, and that is in none of those where volumes are mounted already, becomes an emptyDir, which is empty at each start; the limits say
// which of them hold what must not be lost and need another volume, and which lie where no volume can be mounted.
func ToReadOnlyRoot(c *contract.Contract, container string, mounted []string) (*ReadOnlyPatch, []Limit, error) {
	w := c.Spec.Workload
	version, ok := apiVersions[string(w.Kind)]
	if !ok || !isOne(string(w.Name)) {
		return nil, nil, fmt.Errorf("export %s: a read-only root can be patched into one Deployment, ReplicaSet, StatefulSet, DaemonSet or Job, not into %s", c.FullName(), strings.Join(strings.Fields(fmt.Sprint(w.Kind, " ", w.Name, " ", w.Labels())), " "))
	}
	namespace := string(w.Namespace)
	if namespace == "" {
		namespace = c.Metadata.Namespace
	}
	if container == "" {
		container = string(w.Name)
	}
	p := &ReadOnlyPatch{APIVersion: version, Kind: string(w.Kind), Metadata: Meta{Name: string(w.Name), Namespace: namespace}}
	box := Container{Name: container, SecurityContext: SecurityContext{ReadOnlyRootFilesystem: true}}
	pod := &p.Spec.Template.Spec
	e := &exporter{contract: c}
	mounts := map[string]*Volume{}
	var order []string
	// add says whether the files of a line go into an emptyDir.
	add := func(line string, pattern contract.PathPattern, size contract.Bytes) bool {
		dir, ok := mountPoint(pattern)
		switch {
		case below(mounted, dir):
			return false
		case !ok:
			e.limit(line, contract.Narrower, "no volume can be mounted there: choose a directory of its own for these files")
			return false
		}
		v := mounts[dir]
		if v == nil {
			v = &Volume{}
			mounts[dir] = v
			order = append(order, dir)
			if size > 0 {
				v.EmptyDir.SizeLimit = size.String()
			}
		} else if v.EmptyDir.SizeLimit != "" {
			v.EmptyDir.SizeLimit = "" // two lines share it, and only one is limited
			e.limit(line, contract.Wider, "shares its volume with another line, so that neither has a limit of its own")
		}
		return true
	}
	for _, s := range c.Spec.Scratch {
		add(contract.Line(s), s.Path, s.MaxBytes)
	}
	for _, v := range c.Spec.Volumes {
		lasts := !slices.Contains([]contract.Class{contract.ClassCache, contract.ClassLock, contract.ClassLog}, v.Class)
		if add(contract.Line(v), v.Path, 0) && lasts {
			e.limit(contract.Line(v), contract.Narrower, "an emptyDir is lost with the pod: mount a persistent volume there if the files must stay")
		}
	}
	slices.Sort(order)
	for i, dir := range order {
		v := mounts[dir]
		v.Name = volumeName(dir, i)
		pod.Volumes = append(pod.Volumes, *v)
		box.VolumeMounts = append(box.VolumeMounts, VolumeMount{Name: v.Name, MountPath: dir})
	}
	pod.Containers = []Container{box}
	return p, e.limits, nil
}

// system are directories that hold more than what a workload writes, so that a volume would hide it.
var system = []string{"/", "/bin", "/dev", "/etc", "/home", "/lib", "/lib64", "/opt", "/proc", "/root", "/sbin", "/srv", "/sys", "/usr", "/var", "/var/lib", "/usr/lib", "/usr/local", "/usr/share"}

// mountPoint is the directory that holds all files of a pattern.
func mountPoint(p contract.PathPattern) (string, bool) {
	dir := string(p)
	if i := strings.IndexAny(dir, `*?[\`); i >= 0 {
		dir = path.Dir(dir[:i] + "x")
	} else if path.Ext(dir) != "" {
		dir = path.Dir(dir) // a file, by its name
	}
	return dir, !slices.Contains(system, dir)
}

// volumeName makes a valid and unique name (RFC 1123 label) of a directory.
func volumeName(dir string, i int) string {
	var b strings.Builder
	for _, r := range strings.ToLower(strings.Trim(dir, "/")) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else {
			b.WriteByte('-')
		}
	}
	name := b.String()
	if len(name) > 40 {
		name = name[:40]
	}
	return fmt.Sprintf("%s-%d", strings.Trim("rw-"+name, "-"), i)
}
