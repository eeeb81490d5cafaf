// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spoor/spoor/agent/act"
	"github.com/spoor/spoor/agent/selftest"
)

const elsewhere = `
## What other tests look at

Some things take more than an act on one machine.

| what | test |
|---|---|
| where addresses lead that the node translates (DNAT of a service's address, SNAT), both ends named | test/cluster, by kube-proxy's own rules |
| the names that were asked for (DNS) | test/dns, with a real server |
| processes, listeners, connections and open files that are older than the agent | test/older |
| who reads what another one wrote | test/readback |
| everything, while one agent replaces another | test/upgrade |
`

const preface = `# Coverage

Each act below was done for real under the eyes of an agent, on each of these kernels and file systems, and the event that tells
it, by exactly the right process, was looked for. ` + "`spoor selftest`" + ` does the same on your node.

| cell | meaning |
|---|---|
| ✓ | seen: told whole, with the right path, size, bytes and process |
| ~ | seen or not, depending on the clock or on who is quicker; the note says on what |
| ✗ | not seen, or not whole; the note says what and why |
| – | cannot be done there; the note says what is missing |
| **!** | not as it should be |

Made by ` + "`make coverage`" + ` of the files in test/coverage/columns, one a kernel and tier. That target measures the kernel that it runs on;
` + "`make test-kernels`" + ` measures 5.10, 6.1 and 6.12 in virtual machines. An act that stands in the list of gaps (agent/selftest) and is
seen fails there just as one that is missed and does not stand in it.
`

// column is one kernel and tier, and for acts on files one file system.
type column struct {
	title string
	cells map[string]selftest.Cell // by act
}

// notes numbers the reasons that cells give.
type notes struct {
	number map[string]int
	text   []string
}

func (n *notes) of(why string) int {
	why = strings.ReplaceAll(strings.TrimSpace(why), "\n", " ")
	if n.number[why] == 0 {
		n.text = append(n.text, why)
		n.number[why] = len(n.text)
	}
	return n.number[why]
}

// document is the page.
func document(reports []found) string {
	var b strings.Builder
	b.WriteString(preface)
	n := &notes{number: map[string]int{}}
	sensors(&b, reports)
	for _, group := range []act.Group{act.GroupFile, act.GroupMemory, act.GroupNetwork, act.GroupProcess} {
		fmt.Fprintf(&b, "\n## %s\n", map[act.Group]string{
			act.GroupFile: "Files", act.GroupMemory: "Memory", act.GroupNetwork: "Network", act.GroupProcess: "Processes",
		}[group])
		columns := columnsOf(reports, group)
		b.WriteString("\n| act |")
		for _, c := range columns {
			fmt.Fprintf(&b, " %s |", c.title)
		}
		fmt.Fprintf(&b, "\n|---|%s\n", strings.Repeat(":-:|", len(columns)))
		for _, a := range act.All() {
			if a.Group != group {
				continue
			}
			fmt.Fprintf(&b, "| %s |", a.Name)
			for _, c := range columns {
				fmt.Fprintf(&b, " %s |", mark(c.cells[a.Name], n))
			}
			b.WriteString("\n")
		}
	}
	b.WriteString("\n## Notes\n\n")
	for i, why := range n.text {
		fmt.Fprintf(&b, "%d. %s\n", i+1, upper(why))
	}
	b.WriteString(elsewhere)
	b.WriteString("\n## What the acts do\n\n| act | what is done |\n|---|---|\n")
	for _, a := range act.All() {
		fmt.Fprintf(&b, "| %s | %s |\n", a.Name, strings.ReplaceAll(a.Summary, "|", `\|`))
	}
	return b.String()
}

// sensors tells the tier of each, and what it says that it cannot see.
func sensors(b *strings.Builder, reports []found) {
	b.WriteString("\n## Sensors\n\n| sensor | kernel, tier asked for | its tier | what it says |\n|---|---|---|---|\n")
	type saying struct{ name, tier, reason string }
	where := map[saying][]string{}
	var order []saying
	for _, r := range reports {
		for _, s := range r.Sensors {
			k := saying{s.Name, s.Tier, s.Reason}
			if where[k] == nil {
				order = append(order, k)
			}
			where[k] = append(where[k], r.kernel+" "+r.tier)
		}
	}
	slices.SortStableFunc(order, func(x, y saying) int { return strings.Compare(x.name, y.name) })
	for _, k := range order {
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", k.name, strings.Join(where[k], ", "), k.tier, strings.ReplaceAll(k.reason, "|", `\|`))
	}
}

// columnsOf takes the reports apart: acts on files have a column a file system.
func columnsOf(reports []found, group act.Group) []*column {
	var columns []*column
	for _, r := range reports {
		by := map[string]*column{}
		for _, c := range r.Cells {
			if c.Group != group {
				continue
			}
			if by[c.FileSystem] == nil {
				title := r.kernel + " " + r.tier
				if c.FileSystem != "" {
					title += "<br>" + strings.ReplaceAll(c.FileSystem, "overlay-", "overlay on ")
				}
				by[c.FileSystem] = &column{title: title, cells: map[string]selftest.Cell{}}
				columns = append(columns, by[c.FileSystem])
			}
			by[c.FileSystem].cells[c.Act] = c
		}
	}
	return columns
}

func mark(c selftest.Cell, n *notes) string {
	sign := map[selftest.State]string{
		selftest.Seen: "✓", selftest.Sometimes: "~", selftest.Missed: "✗", selftest.Impossible: "–",
	}[c.State]
	switch c.State {
	case selftest.Seen:
		return sign
	case "":
		return fmt.Sprintf("<sup>%d</sup>", n.of("not measured there yet: the act is newer than the column"))
	default:
		return fmt.Sprintf("%s<sup>%d</sup>", cmp.Or(sign, "**!**"), n.of(c.Why))
	}
}

func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
