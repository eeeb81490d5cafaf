// SPDX-License-Identifier: Apache-2.0

package pin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Set is what one sensor has in the kernel. Without a Directory nothing of it outlives the agent.
//
// The order of a take-over, after each step of which an agent may die:
//
//  1. NewSet finds the maps that fit, and makes and pins the others. Older programs go on filling theirs.
//  2. The sensor loads its programs on these maps and attaches them; Keep pins the links. Older programs still count.
//  3. Begin gives the turn to the new programs, CPU by CPU, and removes the older links.
//  4. The sensor reads what is left in maps of other layouts (Retired), and drops them.
type Set struct {
	dir        string // "" without a Directory
	sensor     string
	generation uint32
	maps       map[string]*ebpf.Map
	adopted    map[string]bool
	layouts    map[string]layout
	fits       map[string]bool // names of pins that are in use
	links      []string
	retired    []*Retired
}

// Retired is a map that an earlier agent left, and that the programs of this one do not fill.
type Retired struct {
	*ebpf.Map
	// Of the map's name the dots became underscores.
	Name string
	// Known says that what is in it is of the types that this agent knows under that name: only the size differs.
	Known bool

	path string
}

// Drop removes it.
func (r *Retired) Drop() error { return errors.Join(os.Remove(r.path), r.Close()) }

// turns is the map of bpf/turn.h. It outlives all layouts.
const turns = ".data.turns"

// NewSet finds or makes every map of spec, but for those that others share with the sensor. records names, for each ring, the types
// that go through it. A nil Directory gives a Set whose maps are made when the programs are loaded.
func (d *Directory) NewSet(sensor string, spec *ebpf.CollectionSpec, records map[string][]string, shared ...string) (*Set, error) {
	if d == nil {
		return &Set{sensor: sensor}, nil
	}
	s := &Set{
		dir: filepath.Join(d.path, sensor), sensor: sensor, maps: map[string]*ebpf.Map{}, adopted: map[string]bool{},
		layouts: map[string]layout{}, fits: map[string]bool{},
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the folder for the pins of the %s sensor: %w", sensor, err)
	}
	for name, m := range spec.Maps {
		if strings.HasPrefix(name, ".rodata") || slices.Contains(shared, name) {
			continue
		}
		if err := s.fill(name, m, spec.Types, records[name]); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	d.sensors = append(d.sensors, sensor)
	if err := s.count(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if s.maps[turns] == nil {
		return s, nil
	}
	if err := s.nextGeneration(spec); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// count gives the Set a generation that no pinned link has.
func (s *Set) count() error {
	s.generation = 1
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("%s sensor: read its pins: %w", s.sensor, err)
	}
	for _, e := range entries {
		var n uint32
		if _, err := fmt.Sscanf(e.Name(), linkFormat, &n); err == nil {
			s.generation = max(s.generation, n+1)
		}
	}
	return nil
}

// linkFormat begins the name of a link's pin: its generation.
const linkFormat = "link-%d-"

func (s *Set) fill(name string, spec *ebpf.MapSpec, types *btf.Spec, records []string) error {
	var wire []btf.Type
	for _, r := range records {
		t, err := types.AnyTypeByName(r)
		if err != nil {
			return fmt.Errorf("%s sensor: type of the records in %s: %w", s.sensor, name, err)
		}
		wire = append(wire, t)
	}
	spec = spec.Copy()
	if strings.HasPrefix(name, ".") { // a section, which the loader maps
		spec.Flags |= unix.BPF_F_MMAPABLE
	}
	_, err := s.open(name, spec, wire)
	return err
}

// Map finds or makes a map that is not among those of the programs. It belongs to the caller.
func (s *Set) Map(name string, spec *ebpf.MapSpec) (*ebpf.Map, error) {
	if s.dir == "" {
		return ebpf.NewMap(spec)
	}
	m, err := s.open(name, spec, nil)
	if err != nil {
		return nil, err
	}
	delete(s.maps, name)
	return m, nil
}

func (s *Set) open(name string, spec *ebpf.MapSpec, records []btf.Type) (*ebpf.Map, error) {
	l := layoutOf(name, spec, records)
	path := filepath.Join(s.dir, l.file())
	m, err := ebpf.LoadPinnedMap(path, nil)
	switch {
	case err == nil:
		s.adopted[name] = true
	case errors.Is(err, fs.ErrNotExist):
		if m, err = ebpf.NewMap(spec); err != nil {
			return nil, fmt.Errorf("%s sensor: make map %s: %w", s.sensor, name, err)
		}
		if err = m.Pin(path); err != nil {
			return nil, errors.Join(fmt.Errorf("%s sensor: pin map %s: %w", s.sensor, name, err), m.Close())
		}
	default:
		return nil, fmt.Errorf("%s sensor: open pinned map %s: %w", s.sensor, name, err)
	}
	s.maps[name], s.layouts[strings.ReplaceAll(name, ".", "_")], s.fits[l.file()] = m, l, true
	return m, nil
}

// Maps are the maps to load the programs on; nil lets the loader make them.
func (s *Set) Maps() map[string]*ebpf.Map { return s.maps }

// Adopted reports whether an earlier agent left the map.
func (s *Set) Adopted(name string) bool { return s.adopted[name] }

// Continued reports whether an earlier agent's programs were attached when the Set was made.
func (s *Set) Continued() bool { return s.generation > 1 }

// Keep keeps the link of the program called name when the agent ends.
func (s *Set) Keep(name string, l link.Link) error {
	if s.dir == "" {
		return nil
	}
	file := fmt.Sprintf(linkFormat, s.generation) + strings.ReplaceAll(name, ".", "_")
	if err := l.Pin(filepath.Join(s.dir, file)); err != nil {
		return fmt.Errorf("%s sensor: pin the link of %s: %w", s.sensor, name, err)
	}
	s.links = append(s.links, file)
	return nil
}

// Begin makes the attached programs those that count, and detaches all others that were pinned.
func (s *Set) Begin() error {
	if s.dir == "" {
		return nil
	}
	if m := s.maps[turns]; m != nil {
		if err := giveTurn(m, s.generation); err != nil {
			return fmt.Errorf("%s sensor: take over: %w", s.sensor, err)
		}
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("%s sensor: read its pins: %w", s.sensor, err)
	}
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		if l, ok := parseLayout(e.Name()); ok {
			if err := s.retire(path, l); err != nil {
				return err
			}
		} else if !slices.Contains(s.links, e.Name()) {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("%s sensor: detach an earlier agent's program: %w", s.sensor, err)
			}
		}
	}
	return nil
}

func (s *Set) retire(path string, l layout) error {
	if s.fits[l.file()] {
		return nil
	}
	m, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		return fmt.Errorf("%s sensor: open an earlier agent's map: %w", s.sensor, err)
	}
	s.retired = append(s.retired, &Retired{Map: m, Name: l.name, Known: s.layouts[l.name].types == l.types, path: path})
	return nil
}

// Retired returns the maps of other layouts, once. The caller reads what is in them, and drops them.
func (s *Set) Retired() []*Retired {
	r := s.retired
	s.retired = nil
	return r
}

// Close releases what the Set has open. The pins stay.
func (s *Set) Close() error {
	var errs []error
	for _, m := range s.maps {
		errs = append(errs, m.Close())
	}
	for _, r := range s.retired {
		errs = append(errs, r.Map.Close())
	}
	s.maps, s.retired = nil, nil
	return errors.Join(errs...)
}
