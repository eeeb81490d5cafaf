// SPDX-License-Identifier: Apache-2.0

package collector_test

import (
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/timestamppb"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector"
	"github.com/spoor/spoor/collector/store"
	"github.com/spoor/spoor/collector/store/sqlite"
)

// stored makes a store with n events, one a minute up to now, that take so many bytes and some more.
func stored(t *testing.T, n, bytes int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s, err := sqlite.Open(sqlite.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	b := store.Batch{Run: store.Run{Cluster: "c", Node: "n", Epoch: "e"}, Sequence: 1, Received: time.Now()}
	for i := 1; i <= n; i++ {
		w := &spoorv1.FileWrite{File: &spoorv1.File{Path: fmt.Sprintf("/tmp/%d", i)}}
		// What a newer agent says is kept as it is.
		w.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 1000, protowire.BytesType), make([]byte, bytes)))
		b.Events = append(b.Events, &spoorv1.Event{
			Id: uint64(i), Sequence: uint64(i), Epoch: "e", Node: "n", Kind: "file_write", Time: timestamppb.New(time.Now().Add(time.Duration(i-n) * time.Minute)),
			Fact: &spoorv1.Event_FileWrite{FileWrite: w},
		})
	}
	if err := s.Write(t.Context(), &store.Write{Batches: []store.Batch{b}}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	return dir
}

func mustClose(t *testing.T, s *sqlite.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// forgets waits until events were forgotten for a reason, and none for the other.
func (c *centre) forgets(reason, other string) {
	c.t.Helper()
	const metric = `(?m)^spoor_collector_store_forgotten_events_total\{reason="%s"\} %s$`
	want, not := regexp.MustCompile(fmt.Sprintf(metric, reason, "[1-9].*")), regexp.MustCompile(fmt.Sprintf(metric, other, "0"))
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		_, body := c.get("/metrics")
		if want.MatchString(body) && not.MatchString(body) {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("nothing was forgotten for its %s:\n%s", reason, body)
		}
	}
}

func (c *centre) gaps() string {
	c.t.Helper()
	answer, err := c.people().ListEvents(c.t.Context(), connect.NewRequest(&spoorv1.ListEventsRequest{}))
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.Join(answer.Msg.GetCompleteness().GetGaps(), "\n")
}

func TestForgetsWhatIsOld(t *testing.T) {
	c := start(t, collector.Options{DataDir: stored(t, 120, 10), Retention: time.Hour})
	c.forgets(store.ForgottenAge, store.ForgottenSize)
	if said := c.gaps(); !strings.Contains(said, "were forgotten: events are kept for a limited time") {
		t.Errorf("gaps of an answer: %s", said)
	}
}

func TestForgetsWhatDoesNotFit(t *testing.T) {
	c := start(t, collector.Options{DataDir: stored(t, 1800, 10000), MaxBytes: collector.LeastMaxBytes})
	c.forgets(store.ForgottenSize, store.ForgottenAge)
	if said := c.gaps(); !strings.Contains(said, "were forgotten: the store had reached the size that it may have") {
		t.Errorf("gaps of an answer: %s", said)
	}
}

func TestLimitsOfStoreAreChecked(t *testing.T) {
	for _, o := range []collector.Options{{Retention: -time.Hour}, {MaxBytes: 1000}} {
		o.DataDir, o.Listen = t.TempDir(), "127.0.0.1:0"
		if _, err := collector.New(o); err == nil || !strings.Contains(err.Error(), "option ") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
