// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
)

// DefaultConfigFile is read when it exists.
const DefaultConfigFile = "/etc/spoor/spoor.yaml"

// ConfigFile is a flag that names a YAML file with values for other flags.
//
//	collector: http://10.0.0.7:7070    # for every command that has the flag
//	up:
//	  data: /srv/spoor                 # for one command
//
// The command line beats the environment, which beats the file that --config names, which beats the default
// file.
type ConfigFile string

// BeforeResolve reads the file. Kong calls it.
func (c ConfigFile) BeforeResolve(k *kong.Kong, ctx *kong.Context, trace *kong.Path) error {
	name, ok := ctx.FlagValue(trace.Flag).(ConfigFile)
	if !ok || name == "" {
		return nil
	}
	const fix = "--config and SPOOR_CONFIG take a YAML file whose keys are names of flags."
	resolver, err := k.LoadConfig(string(name))
	if err != nil {
		return BadInput(fmt.Errorf("config file %s: %w", name, err), fix)
	}
	if err := resolver.Validate(k.Model); err != nil {
		return BadInput(err, fix)
	}
	ctx.AddResolver(resolver)
	return nil
}

// config is one file that was read.
type config struct {
	name string
	// Keys of nested maps are joined by NUL.
	values map[string]any
}

func loadConfig(r io.Reader) (kong.Resolver, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(data, &tree); err != nil {
		return nil, errors.New(yaml.FormatError(err, false, true))
	}
	c := config{values: map[string]any{}}
	if file, ok := r.(interface{ Name() string }); ok {
		c.name = file.Name()
	}
	c.flatten("", tree)
	return c, nil
}

func (c config) flatten(prefix string, tree map[string]any) {
	for key, v := range tree {
		if sub, ok := v.(map[string]any); ok {
			c.flatten(prefix+key+"\x00", sub)
			continue
		}
		c.values[prefix+key] = v
	}
}

// Validate refuses keys that are neither a flag nor a command with flags: a misspelt key would be silence.
func (c config) Validate(app *kong.Application) error {
	known := map[string]bool{}
	collectKeys(app.Node, "", known)
	for _, key := range slices.Sorted(maps.Keys(c.values)) {
		if !known[key] {
			return fmt.Errorf("config file %s: unknown key %q", c.name, strings.ReplaceAll(key, "\x00", ": "))
		}
	}
	return nil
}

// collectKeys gathers flags by their names alone and below the path of each command that has them.
func collectKeys(node *kong.Node, path string, known map[string]bool) {
	for _, flag := range node.Flags {
		known[flag.Name] = true
		if path != "" {
			known[path+"\x00"+flag.Name] = true
		}
	}
	for _, child := range node.Children {
		name := child.Name
		if path != "" {
			name = path + "\x00" + name
		}
		collectKeys(child, name, known)
	}
}

// Resolve gives the value for a flag: the one below its command first, then the one for all commands.
func (c config) Resolve(_ *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Tag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return nil, nil
		}
	}
	for _, key := range []string{commandKey(parent) + flag.Name, flag.Name} {
		if v, ok := c.values[key]; ok {
			return plainValue(v), nil
		}
	}
	return nil, nil
}

func commandKey(parent *kong.Path) string {
	key := ""
	for n := parent.Node(); n != nil && n.Parent != nil; n = n.Parent {
		key = n.Name + "\x00" + key
	}
	return key
}

// plainValue writes a value the way it would stand on the command line.
func plainValue(v any) any {
	list, ok := v.([]any)
	if !ok {
		return fmt.Sprint(v)
	}
	parts := make([]string, len(list))
	for i, e := range list {
		parts[i] = strings.ReplaceAll(fmt.Sprint(e), ",", `\,`)
	}
	return strings.Join(parts, ",")
}
