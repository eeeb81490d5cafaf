// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/dustin/go-humanize"

	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/sqlite"
)

type storeCommand struct {
	Check   storeCheckCommand   `cmd:"" help:"Read all of a store or backup and say what is wrong with it; exits with 1 when something is."`
	Backup  storeBackupCommand  `cmd:"" help:"Write the store into a new file, while a collector may go on to use it."`
	Restore storeRestoreCommand `cmd:"" help:"Make a backup the store."`
}

func (*storeCommand) Help() string {
	return `Works on the files of a collector, on the machine that has them. Backups and checks need no stop: they see one moment of a store that is being written.

Examples:

    spoor store check
    spoor store backup /backup/spoor-$(date +%F).db
    spoor store restore /backup/spoor-2026-03-01.db --replace`
}

// dataDir is where the store is.
type dataDir struct {
	Data string `help:"Folder that keeps the events." default:"/var/lib/spoor"`
}

// explain says whose fault it is when a store cannot be worked on.
func (d *dataDir) explain(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return cli.Failed(errors.New("interrupted; nothing was changed"), "")
	case errors.Is(err, fs.ErrNotExist):
		return cli.BadInput(err, "Name the folder of the collector with --data DIR.")
	case errors.Is(err, fs.ErrPermission):
		return cli.Failed(err, "Run as the user of the collector, or as root (sudo).")
	case errors.Is(err, fs.ErrExist):
		return cli.BadInput(err, "Choose another name: nothing is ever written over.")
	case errors.Is(err, sqlite.ErrStoreExists):
		return cli.BadInput(err, "Choose another folder with --data DIR, or say --replace; what is there is kept as "+filepath.Join(d.Data, sqlite.ReplacedName)+".")
	case errors.Is(err, sqlite.ErrNotABackup):
		return cli.BadInput(err, "Make a backup with \"spoor store backup\".")
	case errors.Is(err, store.ErrNewerSchema), errors.Is(err, sqlite.ErrNotAStore), errors.Is(err, sqlite.ErrDamaged):
		return cli.BadInput(err, "")
	default:
		return cli.Failed(err, "")
	}
}

type storeCheckCommand struct {
	File string `arg:"" optional:"" help:"A backup; the store in --data by default."`
	dataDir
	output
}

func (*storeCheckCommand) Help() string {
	return `Looks at pages and indexes, whether events are counted right and found by their time, whether what they refer to is there, and whether the sums of who talks to whom are those of the flows. It reads everything, which takes about two minutes a gigabyte, and changes nothing.

Examples:

    spoor store check
    spoor store check /backup/spoor-2026-03-01.db
    spoor store check -o json | jq '.checks[].problems'`
}

func (c *storeCheckCommand) Run(ctx context.Context, streams *cli.Streams) error {
	path := c.File
	if path == "" {
		path = filepath.Join(c.Data, sqlite.FileName)
	}
	report, err := sqlite.Check(ctx, path)
	if err != nil {
		return c.explain(err)
	}
	if c.json() {
		err = render.StoreReportJSON(streams.Out, report)
	} else {
		err = render.StoreReport(streams.Out, c.style(streams), report)
	}
	if err == nil && !report.OK() {
		err = cli.Found()
	}
	return err
}

type storeBackupCommand struct {
	File string `arg:"" help:"File to write, which must not be there yet."`
	dataDir
}

func (*storeBackupCommand) Help() string {
	return `What is in the backup is one moment of the store, with findings and what receivers must still be told. Its name appears only when it is whole and on the disk; until then it ends in .partial. While it is made, the store's log grows by what is written meanwhile.

Examples:

    spoor store backup /backup/spoor-$(date +%F).db
    kubectl -n spoor exec deploy/spoor-collector -- spoor store backup /var/lib/spoor/backup.db`
}

func (c *storeBackupCommand) Run(ctx context.Context, streams *cli.Streams) error {
	sum, err := sqlite.Backup(ctx, c.Data, c.File)
	if err != nil {
		return c.explain(err)
	}
	fmt.Fprintf(streams.Out, "%s: %s events, %s\n", sum.Path, humanize.Comma(sum.Events), humanize.IBytes(sum.Bytes))
	return nil
}

type storeRestoreCommand struct {
	File string `arg:"" help:"The backup."`
	dataDir
	Replace bool `help:"Replace the store that is there; it is kept as spoor.db.replaced."`
}

func (*storeRestoreCommand) Help() string {
	return `The collector must be stopped. The backup is copied and checked first, so that a damaged one replaces nothing. What agents had sent between the backup and now is not sent again: that gap is told beside answers.

Examples:

    spoor store restore /backup/spoor-2026-03-01.db
    spoor store restore /backup/spoor-2026-03-01.db --replace --data /srv/spoor`
}

func (c *storeRestoreCommand) Run(ctx context.Context, streams *cli.Streams) error {
	sum, err := sqlite.Restore(ctx, c.Data, c.File, c.Replace)
	if err != nil {
		return c.explain(err)
	}
	fmt.Fprintf(streams.Out, "%s: %s events, %s\n", sum.Path, humanize.Comma(sum.Events), humanize.IBytes(sum.Bytes))
	return nil
}
