// SPDX-License-Identifier: Apache-2.0

// Command licences checks that everything which is linked into the binaries has a permissive licence, and writes the
// notices that those licences ask for.
//
// It looks at the packages that are really linked, not at the module graph, for every platform that is released. A
// licence counts for the folder that it stands in and below: a module with code from several sources has several.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	classifier "github.com/google/licenseclassifier/v2"
	"github.com/google/licenseclassifier/v2/assets"
)

// permissive are the licences that ask for a notice at most, by their SPDX names.
var permissive = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "0BSD", "Unlicense", "CC0-1.0", "Zlib"}

// exceptions are files that a person has read instead: the licence is not among the above, or the file is none. They are
// read again when their module has another version.
var exceptions = []exception{
	{"github.com/hashicorp/golang-lru/v2", "LICENSE", "v2.0.7", "MPL-2.0", "copyleft by the file: used as it is, its source is where the notice says"},
	{"modernc.org/memory", "LICENSE-LOGO", "v1.12.1", "", "says where a picture is from"},
	{"modernc.org/sqlite", "LICENSE-3RD-PARTY.md", "v1.61.1", "", "lists what is linked, which is permissive, and what is not"},
	{"modernc.org/sqlite", "LICENSE-SQLITE", "v1.61.1", "public domain", "SQLite's authors dedicated it"},
}

type exception struct{ module, file, version, licence, reason string }

var platforms = []string{"linux/amd64", "linux/arm64"}

var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense|notice|patents)([-._].*)?$`)

// module is a dependency and the licence files that cover what is linked of it.
type module struct {
	Path, Version, Dir string

	files map[string]string // below Dir, to their text
}

func main() {
	dir := flag.String("dir", ".", "root of the module to check")
	notices := flag.String("notices", "", "file to write the texts of all licences to")
	flag.Parse()
	if err := run(os.Stdout, *dir, flag.Args(), *notices); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, dir string, patterns []string, notices string) error {
	modules := map[string]*module{}
	for _, platform := range platforms {
		if err := linked(dir, platform, patterns, modules); err != nil {
			return err
		}
	}
	sorted := slices.SortedFunc(maps.Values(modules), func(a, b *module) int { return cmp.Compare(a.Path, b.Path) })
	c, err := assets.DefaultClassifier()
	if err != nil {
		return fmt.Errorf("read the known licences: %w", err)
	}
	var problems []error
	for _, e := range exceptions {
		m := modules[e.module]
		if m == nil || m.files[e.file] == "" || m.Version != e.version {
			problems = append(problems, fmt.Errorf("the exception for %s of %s %s (%s) is not of what is linked: read the file again, or remove it",
				e.file, e.module, e.version, e.reason))
		}
	}
	for _, m := range sorted {
		names, err := m.classify(c)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		fmt.Fprintf(out, "%-45s %-40s %s\n", m.Path, m.Version, strings.Join(names, ", "))
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	if notices == "" {
		return nil
	}
	std, err := standardLibrary()
	if err != nil {
		return err
	}
	return os.WriteFile(notices, text(append([]*module{std}, sorted...)), 0o644)
}

// standardLibrary is linked into every program, too.
func standardLibrary() (*module, error) {
	env, err := exec.Command("go", "env", "GOROOT", "GOVERSION").Output()
	if err != nil {
		return nil, fmt.Errorf("ask where Go is: %w", err)
	}
	root, version, _ := strings.Cut(strings.TrimSpace(string(env)), "\n")
	licence, err := os.ReadFile(filepath.Join(root, "LICENSE"))
	if err != nil {
		return nil, fmt.Errorf("the licence of Go's standard library: %w", err)
	}
	return &module{Path: "the Go standard library", Version: version, files: map[string]string{"LICENSE": string(licence)}}, nil
}

// linked adds the modules that are linked into the given packages on a platform.
func linked(dir, platform string, patterns []string, modules map[string]*module) error {
	goos, goarch, _ := strings.Cut(platform, "/")
	list := exec.Command("go", append([]string{"list", "-deps", "-json=Dir,Module,Standard"}, patterns...)...)
	list.Dir = dir
	list.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0")
	list.Stderr = os.Stderr
	packages, err := list.Output()
	if err != nil {
		return fmt.Errorf("list what is linked on %s: %w", platform, err)
	}
	for d := json.NewDecoder(bytes.NewReader(packages)); ; {
		var p struct {
			Dir      string
			Standard bool
			Module   *struct {
				Path, Version, Dir string
				Main               bool
			}
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read what go list said: %w", err)
		}
		if p.Standard || p.Module == nil || p.Module.Main {
			continue
		}
		m := modules[p.Module.Path]
		if m == nil {
			m = &module{Path: p.Module.Path, Version: p.Module.Version, Dir: p.Module.Dir, files: map[string]string{}}
			modules[m.Path] = m
		}
		if err := m.collect(p.Dir); err != nil {
			return err
		}
	}
}

// collect reads the licence files from a package's folder up to the root of its module.
func (m *module) collect(dir string) error {
	for {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() || !licenceFile.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".go") {
				continue
			}
			path := filepath.Join(dir, e.Name())
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(m.Dir, path)
			if err != nil {
				return err
			}
			m.files[name] = string(data)
		}
		if dir == m.Dir || len(dir) <= len(m.Dir) {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// classify returns the names of the module's licences; the error says which of them is missing, unknown or not permissive.
func (m *module) classify(c *classifier.Classifier) ([]string, error) {
	names := map[string]bool{}
	var problems []error
	for _, file := range slices.Sorted(maps.Keys(m.files)) {
		if i := slices.IndexFunc(exceptions, func(e exception) bool { return e.module == m.Path && e.file == file }); i >= 0 {
			if exceptions[i].licence != "" {
				names[exceptions[i].licence] = true
			}
			continue
		}
		found := map[string]bool{}
		for _, match := range c.Match([]byte(m.files[file])).Matches {
			if match.MatchType == "License" {
				found[match.Name] = true
			}
		}
		if len(found) == 0 && !isNotice(file) {
			problems = append(problems, fmt.Errorf("%s: %s is no licence that is known", m.Path, file))
		}
		for name := range found {
			if !slices.Contains(permissive, name) {
				problems = append(problems, fmt.Errorf("%s: %s is under %s, which is not among the permissive ones (%s)",
					m.Path, file, name, strings.Join(permissive, ", ")))
			}
			names[name] = true
		}
	}
	if len(names) == 0 && len(problems) == 0 {
		problems = append(problems, fmt.Errorf("%s %s has no licence file", m.Path, m.Version))
	}
	return slices.Sorted(maps.Keys(names)), errors.Join(problems...)
}

// isNotice tells what stands beside a licence from a licence.
func isNotice(file string) bool {
	name := strings.ToLower(filepath.Base(file))
	return strings.HasPrefix(name, "notice") || strings.HasPrefix(name, "patents")
}

// text is what has to be passed on with the binaries.
func text(modules []*module) []byte {
	var b bytes.Buffer
	for _, m := range modules {
		for _, file := range slices.Sorted(maps.Keys(m.files)) {
			fmt.Fprintf(&b, "%s\n%s %s: %s\n%s\n\n%s\n\n",
				strings.Repeat("=", 80), m.Path, m.Version, file, strings.Repeat("=", 80), strings.TrimSpace(m.files[file]))
		}
	}
	return b.Bytes()
}
