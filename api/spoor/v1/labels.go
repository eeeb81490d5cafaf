// SPDX-License-Identifier: Apache-2.0

package spoorv1

import (
	"maps"
	"slices"
	"strings"
)

// What an instance keeps of its labels: so many, keys and values of so many bytes together, and a value of so many.
// Kubernetes allows 317 bytes of a key and 63 of a value; people who label containers elsewhere may write anything.
const (
	MaxLabels     = 32
	MaxLabelBytes = 4 << 10
	maxLabelValue = 256
)

// Labels that say which pod or revision it is, and nothing of the workload (k8s.io/api and Argo).
var madeLabels = []string{
	"pod-template-hash", "rollouts-pod-template-hash", "controller-revision-hash", "pod-template-generation",
	"statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index",
	"batch.kubernetes.io/job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-completion-index",
	"job-name", "controller-uid",
}

// What kubelet and container runtimes note for themselves, and what images say of themselves.
var madePrefixes = []string{
	"io.kubernetes.", "io.cri-containerd.", "com.docker.", "io.podman.", "io.buildah.", "desktop.docker.io/",
	"org.opencontainers.image.", "org.label-schema.",
}

// Those of compositions that somebody chose.
var chosenLabels = []string{
	"com.docker.compose.project", "com.docker.compose.service", "io.podman.compose.project", "io.podman.compose.service",
}

// LabelIsKept says whether a label is one that people gave to a workload. The others are made for one pod or revision, or are notes of
// container runtimes, and no instance has them here.
func LabelIsKept(key string) bool {
	if slices.Contains(chosenLabels, key) {
		return true
	}
	return key != "" && !slices.Contains(madeLabels, key) &&
		!slices.ContainsFunc(madePrefixes, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
}

// KeepLabels returns what an instance keeps of the labels that its pod or container has, nil for none, and how many more
// it would have kept if they were fewer or shorter. The same labels give the same answer.
func KeepLabels(all map[string]string) (kept map[string]string, leftOut uint32) {
	size := 0
	for _, key := range slices.Sorted(maps.Keys(all)) {
		value := all[key]
		switch n := len(key) + len(value); {
		case !LabelIsKept(key):
		case len(kept) == MaxLabels, size+n > MaxLabelBytes, len(value) > maxLabelValue:
			leftOut++
		default:
			if kept == nil {
				kept = map[string]string{}
			}
			key, value = strings.ToValidUTF8(key, "\uFFFD"), strings.ToValidUTF8(value, "\uFFFD")
			kept[key] = value
			size += n
		}
	}
	return kept, leftOut
}
