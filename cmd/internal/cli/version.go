// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/alecthomas/kong"
)

// Build says which program this is; the Go tool writes it into every binary that it builds.
type Build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Time     string `json:"time,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// BuildInfo reads what the Go tool left in the binary.
func BuildInfo() Build {
	b := Build{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// String is one line for people, without the name of the program.
func (b Build) String() string {
	line := fmt.Sprintf("%s (%s, %s", b.Version, b.Go, b.Platform)
	if b.Revision != "" {
		line += ", " + b.Revision
		if b.Modified {
			line += " with changes"
		}
	}
	return line + ")"
}

// VersionFlag prints the version and ends.
type VersionFlag bool

// BeforeReset prints before anything is checked. Kong calls it.
func (VersionFlag) BeforeReset(k *kong.Kong) error {
	fmt.Fprintf(k.Stdout, "%s %s\n", k.Model.Name, BuildInfo())
	k.Exit(CodeOK)
	return nil
}
