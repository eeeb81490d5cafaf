// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/contract"
)

type contractLearnCommand struct {
	Workload  string        `short:"w" placeholder:"WORKLOAD" help:"Only of these workloads: NAME, KIND/NAME, NAMESPACE/KIND/NAME or with CLUSTER/ in front; * matches within a part."`
	Contracts string        `type:"path" help:"Contracts that exist, a file or folder: what they lack is added, what they have stays." placeholder:"PATH"`
	Out       string        `type:"path" help:"Write each contract into a file of its own below this folder, instead of all to standard output. Files that exist are not touched." placeholder:"DIR"`
	For       time.Duration `help:"How long a workload must have been seen; a contract that was learned from less says so." default:"24h"`
	Quiet     time.Duration `help:"How long nothing new must have been seen of it at the end." default:"1h"`
	Instances int           `help:"How many of its instances must have been seen, so that a start and a stop are among it." default:"2"`
	history
}

func (*contractLearnCommand) Help() string {
	return `Turns what workloads did into contracts. A person has to agree: what was seen once, was never answered, or is state where none should be, is left as a remark to be uncommented. Each line says what it rests on. The same history makes the same text, so that learning again shows as a small difference.

Examples:

    spoor contract learn --since 24h --out contracts
    spoor contract learn --workload shop/Deployment/checkout --for 1h --instances 1
    spoor contract learn --contracts contracts --workload 'shop/*/*' > again.yaml
    spoor contract learn --recording day.jsonl.gz`
}

func (c *contractLearnCommand) Run(ctx context.Context, streams *cli.Streams) error {
	var chosen *store.Pattern
	if c.Workload != "" {
		var err error
		if chosen, err = store.ParsePattern(c.Workload); err != nil {
			return cli.BadInput(fmt.Errorf("--workload: %w", err), "")
		}
	}
	var agreed *contract.Set
	if c.Contracts != "" {
		var err error
		if agreed, err = readContracts(c.Contracts); err != nil {
			return err
		}
	}
	learner := contract.NewLearner(contract.LearnOptions{For: c.For, Quiet: c.Quiet, Instances: c.Instances})
	err := c.each(ctx, streams, func(ev *spoorv1.Event) error {
		learner.Observe(ev)
		return nil
	})
	if err != nil {
		return err
	}
	n := 0
	extended := map[*contract.Contract]bool{}
	for _, w := range learner.Workloads() {
		if chosen != nil && !chosen.Match(w) {
			continue
		}
		var learned *contract.Learned
		existing, sure := agreed.For(w, learner.Labels(w))
		if !sure {
			remark(streams, "%s: its labels are not known, and a contract that selects by labels may be about it.", render.WorkloadName(w, ""))
		}
		if existing != nil {
			if extended[existing] {
				remark(streams, "%s: its contract %s is another's, too, and is written once for each of them: what they add has to be put together.", render.WorkloadName(w, ""), existing.FullName())
			}
			extended[existing] = true
			learned = learner.Extend(existing, w)
		} else {
			learned = learner.Contract(w)
		}
		if learned == nil {
			continue
		}
		if err := c.write(streams, learned, w, n == 0); err != nil {
			return err
		}
		n++
		for _, why := range learned.Missing {
			remark(streams, "%s: %s.", render.WorkloadName(w, ""), render.Printable(why))
		}
	}
	if n == 0 {
		return cli.BadInput(errors.New("nothing was seen of such a workload"), "\"spoor events\" shows what was, and of whom.")
	}
	remark(streams, "Learned %s of what was seen. Now people have to agree.", contracts(n))
	return nil
}

func (c *contractLearnCommand) write(streams *cli.Streams, learned *contract.Learned, w *spoorv1.Workload, first bool) error {
	text, err := learned.YAML()
	if err != nil {
		return fmt.Errorf("write the contract of %s: %w", render.WorkloadName(w, ""), err)
	}
	if c.Out == "" {
		if !first {
			text = append([]byte("---\n"), text...)
		}
		if _, err := streams.Out.Write(text); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		return nil
	}
	path := filepath.Join(c.Out, contractFile(learned.Contract, w))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return cli.BadInput(fmt.Errorf("--out: %w", err), "")
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		remark(streams, "%s exists and stays as it is; --contracts adds to contracts.", path)
		return nil
	}
	if err != nil {
		return cli.BadInput(fmt.Errorf("--out: %w", err), "")
	}
	if _, err := file.Write(text); err != nil {
		return errors.Join(fmt.Errorf("--out: %w", err), file.Close())
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	return nil
}

// contractFile names the file of a contract: NAMESPACE/KIND-NAME.yaml. Names of workloads come from nodes, and are
// kept from leading anywhere.
func contractFile(c *contract.Contract, w *spoorv1.Workload) string {
	part := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_' {
				return r
			}
			return '-'
		}, strings.TrimLeft(strings.ToLower(s), "."))
	}
	return filepath.Join(part(c.Metadata.Namespace), part(w.GetKind())+"-"+part(w.GetName())+".yaml")
}
