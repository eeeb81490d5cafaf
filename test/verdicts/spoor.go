// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"connectrpc.com/connect"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/api/spoor/v1/spoorv1connect"
	"github.com/spoor/spoor/test/scene"
)

// nodeName is what the host is called.
const nodeName = "verdicts"

// watched is a running `spoor up`.
type watched struct {
	cmd    *exec.Cmd
	done   chan error
	client spoorv1connect.QueryServiceClient
	url    string
	out    scene.Transcript
}

var webPage = regexp.MustCompile(`web page +(http://[^/]+)/`)

func startSpoor(ctx context.Context, program string, args ...string) (*watched, error) {
	w := &watched{done: make(chan error, 1)}
	w.cmd = exec.Command(program, append([]string{"up", "--listen", "127.0.0.1:0"}, args...)...)
	w.cmd.Stdout, w.cmd.Stderr = &w.out, &w.out
	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w: make build builds it", err)
	}
	go func() { w.done <- w.cmd.Wait() }()
	err := until(ctx, "spoor up says where its page is", func() bool {
		m := webPage.FindStringSubmatch(w.out.String())
		if m != nil {
			w.url, w.client = m[1], spoorv1connect.NewQueryServiceClient(http.DefaultClient, m[1])
		}
		return m != nil
	})
	if err != nil {
		return nil, errors.Join(err, errors.New(w.out.String()), w.stop())
	}
	return w, nil
}

// stop interrupts it, as Ctrl-C does.
func (w *watched) stop() error {
	if err := w.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-w.done:
		return err
	case <-time.After(3 * time.Minute):
		return errors.Join(errors.New("spoor up does not end"), w.cmd.Process.Kill())
	}
}

// findings returns every finding that was ever opened, by the name of its workload.
func (w *watched) findings(ctx context.Context) (map[string][]told, error) {
	return w.list(ctx, spoorv1.FindingState_FINDING_STATE_OPEN, spoorv1.FindingState_FINDING_STATE_ACKNOWLEDGED,
		spoorv1.FindingState_FINDING_STATE_RESOLVED, spoorv1.FindingState_FINDING_STATE_EXPIRED)
}

func (w *watched) list(ctx context.Context, states ...spoorv1.FindingState) (map[string][]told, error) {
	answer, err := w.client.ListFindings(ctx, connect.NewRequest(&spoorv1.ListFindingsRequest{States: states}))
	if err != nil {
		return nil, err
	}
	all := map[string][]told{}
	for _, f := range answer.Msg.GetFindings() {
		name := f.GetWorkload().GetName()
		severity := strings.ToLower(strings.TrimPrefix(f.GetSeverity().String(), "SEVERITY_"))
		all[name] = append(all[name], told{f.GetRule(), severity, f.GetSubject()})
	}
	return all, nil
}

func (w *watched) events(ctx context.Context) (uint64, error) {
	answer, err := w.client.GetStatus(ctx, connect.NewRequest(&spoorv1.GetStatusRequest{}))
	if err != nil {
		return 0, err
	}
	return answer.Msg.GetEvents(), nil
}
