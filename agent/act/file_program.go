// SPDX-License-Identifier: Apache-2.0

package act

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// fileProgramActs have well-known programs of the distribution change files, each in its own way.
func fileProgramActs() []*Act {
	return []*Act{{
		Name: "cp", Group: GroupFile,
		Summary: "copy a file by cp",
		needs:   []need{needProgram("cp")},
		run: func(s *stage) error {
			return s.copyBy("cp", "cp", func(from, to string) []string { return []string{from, to} })
		},
	}, {
		Name: "rsync", Group: GroupFile,
		Summary: "copy a file by rsync, which has a process of its own write a hidden file and renames that",
		needs:   []need{needProgram("rsync")},
		run: func(s *stage) error {
			return s.copyBy("rsync", "", func(from, to string) []string { return []string{"--", from, to} })
		},
	}, {
		Name: "sed", Group: GroupFile,
		Summary: "edit a file by sed -i, which writes a new one and renames that over it",
		needs:   []need{needProgram("sed")},
		run:     editBySed,
	}}
}

// needProgram: the distribution's package is installed.
func needProgram(name string) need {
	return func(string) (string, error) {
		if _, err := exec.LookPath(name); err != nil {
			return "there is no program " + name, nil
		}
		return "", nil
	}
}

// program runs a program of the distribution to its end and returns the id that its process had.
func (s *stage) program(name string, args ...string) (int, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", name, err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return cmd.Process.Pid, nil
}

// copyBy has a program copy a file that another process prepared. What it does to a file under a name that only it knows is
// told without that name. comm, when it is not empty, says that the program does it all in one process.
func (s *stage) copyBy(name, comm string, args func(from, to string) []string) error {
	from, err := s.prepare("from", block, dirty)
	if err != nil {
		return err
	}
	to := s.path("to")
	pid, err := s.program(name, args(from, to)...)
	if err != nil {
		return err
	}
	made := Expectation{Kind: FileChange, Operation: opCreate, Role: name, Tgid: pid}
	if comm == "" {
		made.Comm = name
	}
	if err := s.replaced(made, to, comm != ""); err != nil {
		return err
	}
	return s.notWritten(from)
}

func editBySed(s *stage) error {
	path, err := s.prepare("file", small, clean)
	if err != nil {
		return err
	}
	pid, err := s.program("sed", "-i", fmt.Sprintf("s/%c/%c/g", oldByte, newByte), path)
	if err != nil {
		return err
	}
	return s.replaced(Expectation{Kind: FileChange, Operation: opCreate, Role: "sed", Tgid: pid}, path, false)
}

// replaced says that a new file was made, as e tells, and written, and that it was given the name path by a rename unless it
// had that at once.
func (s *stage) replaced(e Expectation, path string, atOnce bool) error {
	f, err := identify(path)
	if err != nil {
		return err
	}
	f.SizeBefore = 0
	written, nameless := *f, *f
	if !atOnce {
		nameless.Path = ""
		renamed := e
		renamed.Operation, renamed.File, renamed.TargetPath = opRename, &nameless, path
		defer s.expect(renamed)
	}
	e.File = &nameless
	s.expect(e)
	written.Renamed = !atOnce
	e.Kind, e.Operation, e.File = FileWrite, 0, &written
	s.expect(e)
	return nil
}
