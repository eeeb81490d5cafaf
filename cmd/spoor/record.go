// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/cmd/internal/cli"
	"github.com/spoor/spoor/cmd/spoor/internal/render"
)

type recordCommand struct {
	File string `arg:"" help:"Where to write: a new file, compressed when its name ends with .gz; or - for standard output."`
	span
	remote
}

func (*recordCommand) Help() string {
	return `Writes stored events to a file, one in JSON a line, oldest first: for "spoor contract test" in CI, for "spoor contract learn" elsewhere, or to keep. The file is written beside its place and moved there when it is whole.

Examples:

    spoor record --since 24h shop.jsonl.gz
    spoor record --since yesterday --until now - | jq -r .kind | sort | uniq -c`
}

func (c *recordCommand) Run(ctx context.Context, streams *cli.Streams) (err error) {
	a, err := c.dial()
	if err != nil {
		return err
	}
	filter := &spoorv1.EventFilter{}
	if err := c.limit(filter, time.Now()); err != nil {
		return err
	}
	if c.File == "-" {
		return c.write(ctx, a, streams, streams.Out, filter)
	}
	if _, err := os.Lstat(c.File); !errors.Is(err, fs.ErrNotExist) {
		return cli.BadInput(fmt.Errorf("%s exists already", c.File), "Name another file, or remove it first.")
	}
	unfinished := c.File + ".part"
	file, err := os.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return cli.BadInput(fmt.Errorf("write the recording: %w", err), "")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(unfinished))
		}
	}()
	if err := errors.Join(c.compressed(ctx, a, streams, file, filter), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(unfinished, c.File); err != nil {
		return fmt.Errorf("write the recording: %w", err)
	}
	return nil
}

func (c *recordCommand) compressed(ctx context.Context, a *asker, streams *cli.Streams, file io.Writer, filter *spoorv1.EventFilter) error {
	if !strings.HasSuffix(c.File, ".gz") {
		return c.write(ctx, a, streams, file, filter)
	}
	z := gzip.NewWriter(file)
	return errors.Join(c.write(ctx, a, streams, z, filter), z.Close())
}

func (c *recordCommand) write(ctx context.Context, a *asker, streams *cli.Streams, w io.Writer, filter *spoorv1.EventFilter) error {
	buffered := bufio.NewWriterSize(w, 256<<10)
	n := 0
	err := eachEvent(ctx, a, streams, filter, func(ev *spoorv1.Event) error {
		n++
		return render.JSON(buffered, ev)
	})
	if err := errors.Join(err, buffered.Flush()); err != nil {
		return fmt.Errorf("write the recording: %w", err)
	}
	remark(streams, "%d events recorded.", n)
	return nil
}
