// SPDX-License-Identifier: Apache-2.0

package kube

import "github.com/spoor/spoor/agent/workload"

// volumesOf reads of a pod where its containers have which volumes (k8s.io/api/core/v1, PodSpec). The pod may be anything that is
// JSON: what it should not be is left out.
func volumesOf(pod map[string]any) []workload.VolumeMount {
	spec, _ := pod["spec"].(map[string]any)
	metadata, _ := pod["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	volumes := map[string]workload.Volume{}
	for _, v := range objects(spec, "volumes") {
		if volume, ok := v["name"].(string); ok {
			volumes[volume] = volumeOf(name, volume, v)
		}
	}
	var mounts []workload.VolumeMount
	for _, list := range []string{"initContainers", "containers", "ephemeralContainers"} {
		for _, c := range objects(spec, list) {
			container, _ := c["name"].(string)
			for _, m := range objects(c, "volumeMounts") {
				name, _ := m["name"].(string)
				path, _ := m["mountPath"].(string)
				if v, ok := volumes[name]; ok && container != "" && path != "" {
					mounts = append(mounts, workload.VolumeMount{Container: container, Path: path, Volume: v})
				}
			}
		}
	}
	return mounts
}

// volumeOf: the one field beside the name says what a volume is. A claim that is made for a pod is called after both
// (k8s.io/component-helpers/storage/ephemeral).
func volumeOf(pod, name string, v map[string]any) workload.Volume {
	out := workload.Volume{Name: name}
	for field, source := range v {
		if _, ok := source.(map[string]any); ok {
			out.Type = field
		}
	}
	switch out.Type {
	case "ephemeral":
		out.Ephemeral, out.Claim = true, pod+"-"+name
	case "emptyDir", "csi": // a driver's volume that is made with the pod, and for it
		out.Ephemeral = true
	case "persistentVolumeClaim":
		source, _ := v[out.Type].(map[string]any)
		out.Claim, _ = source["claimName"].(string)
	}
	return out
}

func objects(of map[string]any, field string) []map[string]any {
	list, _ := of[field].([]any)
	out := make([]map[string]any, 0, len(list))
	for _, one := range list {
		if o, ok := one.(map[string]any); ok {
			out = append(out, o)
		}
	}
	return out
}
