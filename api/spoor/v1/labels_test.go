// SPDX-License-Identifier: Apache-2.0

package spoorv1

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

func TestKeepLabels(t *testing.T) {
	kept, leftOut := KeepLabels(map[string]string{
		"app": "checkout", "app.kubernetes.io/part-of": "shop", "empty": "",
		"pod-template-hash": "6b7f", "statefulset.kubernetes.io/pod-name": "orders-0", "batch.kubernetes.io/job-name": "nightly-1",
		"io.kubernetes.pod.uid": "1", "com.docker.compose.config-hash": "2", "com.docker.compose.service": "web",
		"org.opencontainers.image.description": strings.Repeat("x", 1000),
	})
	want := map[string]string{"app": "checkout", "app.kubernetes.io/part-of": "shop", "empty": "", "com.docker.compose.service": "web"}
	if !maps.Equal(kept, want) || leftOut != 0 {
		t.Errorf("kept %v and left out %d", kept, leftOut)
	}
	if kept, leftOut := KeepLabels(map[string]string{"pod-template-hash": "6b7f"}); kept != nil || leftOut != 0 {
		t.Errorf("kept %v and left out %d", kept, leftOut)
	}
}

// What is too much is counted, and what is kept does not depend on the order of a map.
func TestKeepLabelsOfMany(t *testing.T) {
	many := map[string]string{"long": strings.Repeat("x", 300)}
	for i := range 100 {
		many[fmt.Sprintf("key-%03d", i)] = "value"
	}
	kept, leftOut := KeepLabels(many)
	if len(kept) != MaxLabels || leftOut != 101-MaxLabels || kept["key-000"] != "value" || kept["key-031"] != "value" {
		t.Errorf("kept %v and left out %d", kept, leftOut)
	}
	huge := map[string]string{}
	for i := range 31 {
		huge[fmt.Sprintf("key-%03d", i)] = strings.Repeat("x", 200)
	}
	kept, leftOut = KeepLabels(huge)
	size := 0
	for key, value := range kept {
		size += len(key) + len(value)
	}
	if size > MaxLabelBytes || len(kept)+int(leftOut) != len(huge) || leftOut == 0 {
		t.Errorf("kept %d labels of %d bytes, left out %d", len(kept), size, leftOut)
	}
	if kept, _ := KeepLabels(map[string]string{"a\xff": "b\xff"}); kept["a\uFFFD"] != "b\uFFFD" {
		t.Errorf("kept %q", kept)
	}
}
