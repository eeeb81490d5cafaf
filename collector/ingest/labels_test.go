// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
)

// An instance has as many labels as any agent keeps, and more than four times that is refused.
func TestLabels(t *testing.T) {
	labelled := func(n int, value string) *spoorv1.Instance {
		in := &spoorv1.Instance{Id: "i", Labels: map[string]string{}}
		for i := range n {
			in.Labels[fmt.Sprint(i)] = value
		}
		return in
	}
	if err := checkInstance(store.Run{}, labelled(spoorv1.MaxLabels, "x")); err != nil {
		t.Error(err)
	}
	for _, in := range []*spoorv1.Instance{labelled(maxLabels+1, ""), labelled(1, strings.Repeat("x", maxLabelBytes))} {
		err := checkInstance(store.Run{}, in)
		if refused, ok := errors.AsType[*RefusedError](err); !ok || refused.Reason != reasonSize {
			t.Errorf("%d labels: %v", len(in.GetLabels()), err)
		}
	}
}
