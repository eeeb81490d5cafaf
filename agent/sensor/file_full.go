// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/spoor/spoor/bpf"
)

// fileFunctions change files without marking their inodes dirty, on some file systems.
var fileFunctions = []function{
	{name: "vfs_fallocate", programs: map[int]string{4: bpf.FileProgFileAllocated}},
	{name: "vfs_clone_file_range", programs: map[int]string{6: bpf.FileProgFileCloned}},
	{name: "vfs_copy_file_range", programs: map[int]string{6: bpf.FileProgFileCopied}},
	{name: "notify_change", programs: map[int]string{4: bpf.FileProgFileResized, 3: bpf.FileProgFileResizedUnmapped}},
	{name: "__iomap_dio_rw", programs: map[int]string{5: bpf.FileProgFileDirect, 6: "", 7: ""}},
}

// fileModules are the file systems that need programs of their own. They may be loaded long after the agent started.
var fileModules = map[string]function{
	"xfs":   {name: "xfs_vn_update_time", programs: map[int]string{2: bpf.FileProgFileTimed, 3: bpf.FileProgFileTimedGiven}},
	"btrfs": {name: "btrfs_file_write_iter", programs: map[int]string{2: bpf.FileProgFileWritten}},
}

// base leaves the programs in spec that every kernel takes.
func (f *File) base() *ebpf.CollectionSpec {
	spec := f.spec.Copy()
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return name != bpf.FileProgFileDirty })
	return spec
}

// loadFull loads the programs on the kernel's own functions, on the maps that are there.
func (f *File) loadFull() ([]*ebpf.Program, error) {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, fmt.Errorf("read the kernel's BTF: %w", err)
	}
	var chosen []string
	for _, function := range fileFunctions {
		program, err := function.choose(kernel)
		if err != nil {
			return nil, err
		}
		if program != "" {
			chosen = append(chosen, program)
		}
	}
	for name, function := range fileModules {
		program, err := function.chooseIn(kernel, name)
		if err != nil {
			f.blind[name] = err
			continue
		}
		if program != "" {
			chosen = append(chosen, program)
			f.modules[name] = true
		}
	}
	return f.loadMore(chosen...)
}

// loadMore loads some of the programs on the maps of those that are loaded.
func (f *File) loadMore(chosen ...string) ([]*ebpf.Program, error) {
	spec := f.spec.Copy()
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return !slices.Contains(chosen, name) })
	more, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: f.collection.Maps})
	if err != nil {
		return nil, explain("file", err)
	}
	programs := slices.Collect(maps.Values(more.Programs))
	clear(more.Programs) // they are the caller's now
	more.Close()
	return programs, nil
}

// Extend attaches what file systems need whose modules were loaded since it was last called, and names those. Of a module that
// it cannot see into, its error tells once.
func (f *File) Extend() ([]string, error) {
	if !f.full {
		return nil, nil
	}
	var added []string
	for name, function := range fileModules {
		if f.modules[name] || f.blind[name] != nil {
			continue
		}
		if err := f.extend(name, &function); err != nil {
			f.blind[name] = err
			return added, fmt.Errorf("file sensor: what %s does without marking inodes dirty is not seen: %w", name, err)
		}
		if f.modules[name] {
			added = append(added, name)
		}
	}
	return added, nil
}

func (f *File) extend(module string, function *function) error {
	if _, err := os.Stat(filepath.Join(sysModule, module)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("read the kernel's BTF: %w", err)
	}
	program, err := function.chooseIn(kernel, module)
	if err != nil || program == "" {
		return err
	}
	programs, err := f.loadMore(program)
	if err != nil {
		return err
	}
	f.programs = append(f.programs, programs...)
	l, err := link.AttachTracing(link.TracingOptions{Program: programs[0]})
	if err != nil {
		return fmt.Errorf("attach %s: %w", programs[0], err)
	}
	f.links = append(f.links, l)
	f.modules[module] = true
	return f.set.Keep(program, l)
}

// sysModule has a folder for each module that is loaded.
const sysModule = "/sys/module"

// chooseIn is choose for a function of a module, which may be built into the kernel. It returns "" while that is not loaded.
func (f *function) chooseIn(kernel *btf.Spec, module string) (string, error) {
	if n, err := argumentsOf(kernel, f.name); err != nil || n > 0 {
		if err != nil {
			return "", err
		}
		return f.choose(kernel)
	}
	if _, err := os.Stat(filepath.Join(sysModule, module)); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	spec, err := btf.LoadKernelModuleSpec(module)
	if err != nil {
		return "", fmt.Errorf("read the types of module %s: %w", module, err)
	}
	return f.choose(spec)
}
