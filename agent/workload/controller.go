// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"strconv"
	"strings"
	"time"
)

// Labels and annotations by which Kubernetes' own controllers mark the pods that they make (k8s.io/api, pkg/controller).
const (
	labelTemplateHash = "pod-template-hash"          // Deployment
	labelRolloutHash  = "rollouts-pod-template-hash" // Rollout of Argo
	labelRevisionHash = "controller-revision-hash"   // DaemonSet, StatefulSet
	labelGeneration   = "pod-template-generation"    // DaemonSet
	labelStatefulPod  = "statefulset.kubernetes.io/pod-name"
	labelJob          = "batch.kubernetes.io/job-name"
	labelJobOld       = "job-name" // before Kubernetes 1.27
	annotationSource  = "kubernetes.io/config.source"
	annotationMirror  = "kubernetes.io/config.mirror"
	sourceAPI         = "api"
	otherControllers  = "apps.kruise.io/" // CloneSet and others use the labels of Kubernetes' own
	randomSuffix      = 5                 // k8s.io/apiserver/pkg/storage/names
	generatedBase     = 63 - randomSuffix
	randomAlphabet    = "bcdfghjklmnpqrstvwxz2456789" // k8s.io/apimachinery/pkg/util/rand
	minutesOfCronJob  = 8                             // digits, from 1989 to 2160
)

// PodMeta is what a runtime or the API server tells of a pod, as far as its controller can be told from it.
type PodMeta struct {
	Name                string
	Labels, Annotations map[string]string
	Created             time.Time
}

// Controller is who made a pod.
type Controller struct{ Kind, Name string }

// Static reports whether the pod was read from a file of the node (or a URL) and not from the API server.
func (p *PodMeta) Static() bool {
	source := p.Annotations[annotationSource]
	return (source != "" && source != sourceAPI) || p.Annotations[annotationMirror] != ""
}

// Controller tells who made the pod from its name, labels and annotations alone, as a runtime knows them. node is the
// name of the node in Kubernetes.
//
// That is exact for what Kubernetes' own controllers make, with these exceptions. A name beyond 57 characters is cut in the
// names of pods: of a Deployment or DaemonSet then only the beginning is known. A ReplicaSet or ReplicationController
// without a Deployment, and the controllers of others, leave no mark: their pods stand for themselves, each as a
// workload of its own. A Job that somebody made by hand from a CronJob and called like those of the CronJob counts as one of them.
// With an API server, ControllerOf knows all but the last.
func (p *PodMeta) Controller(node string) Controller {
	if p.Static() {
		return Controller{KindPod, staticName(p.Name, node)}
	}
	if hash := p.Labels[labelRolloutHash]; hash != "" {
		return Controller{"Rollout", beforeHash(p.Name, hash)}
	}
	if hash := p.Labels[labelTemplateHash]; hash != "" {
		return Controller{"Deployment", beforeHash(p.Name, hash)}
	}
	if p.Labels[labelStatefulPod] == p.Name && p.Name != "" {
		if i := strings.LastIndexByte(p.Name, '-'); i > 0 && isDigits(p.Name[i+1:]) {
			return Controller{"StatefulSet", p.Name[:i]}
		}
	}
	for _, label := range []string{labelJob, labelJobOld} {
		if job := p.Labels[label]; job != "" {
			return jobController(job, p.Created)
		}
	}
	if p.Labels[labelRevisionHash] != "" && !p.foreign() {
		if base, ok := generatedFrom(p.Name); ok {
			return Controller{"DaemonSet", base}
		}
	}
	return Controller{KindPod, p.Name}
}

// ControllerOf tells who made the pod when the API server names its owner (the reference with controller: true).
func (p *PodMeta) ControllerOf(owner Controller) Controller {
	switch owner.Kind {
	case "Node": // the API server's image of a static pod
		return Controller{KindPod, staticName(p.Name, owner.Name)}
	case "ReplicaSet":
		for label, kind := range map[string]string{labelRolloutHash: "Rollout", labelTemplateHash: "Deployment"} {
			if name, ok := strings.CutSuffix(owner.Name, "-"+p.Labels[label]); ok && name != "" && p.Labels[label] != "" {
				return Controller{kind, name}
			}
		}
	case "Job":
		return jobController(owner.Name, p.Created)
	}
	return owner
}

func (p *PodMeta) foreign() bool {
	for label := range p.Labels {
		if strings.HasPrefix(label, otherControllers) {
			return true
		}
	}
	return false
}

// staticName takes off what kubelet puts behind a static pod's name (pkg/kubelet/config, generatePodName): so the pods of
// one manifest are one workload on all nodes.
func staticName(name, node string) string {
	if base, ok := strings.CutSuffix(name, "-"+strings.ToLower(node)); ok && base != "" {
		return base
	}
	return name
}

// beforeHash returns the name of the Deployment in the name of its pod: NAME-HASH-xxxxx, of which all before the last five
// characters is cut at generatedBase.
func beforeHash(pod, hash string) string {
	if len(pod) <= randomSuffix {
		return pod
	}
	base := pod[:len(pod)-randomSuffix]
	if name, ok := strings.CutSuffix(base, "-"+hash+"-"); ok && name != "" {
		return name
	}
	if len(base) != generatedBase { // named by somebody else's rules
		return pod
	}
	for n := len(hash); n > 0; n-- {
		if name, ok := strings.CutSuffix(base, "-"+hash[:n]); ok && name != "" {
			return name
		}
	}
	return strings.TrimSuffix(base, "-")
}

// generatedFrom undoes generateName: NAME-xxxxx.
func generatedFrom(pod string) (string, bool) {
	if len(pod) <= randomSuffix+1 {
		return "", false
	}
	base, random := pod[:len(pod)-randomSuffix], pod[len(pod)-randomSuffix:]
	if strings.Trim(random, randomAlphabet) != "" {
		return "", false
	}
	name, ok := strings.CutSuffix(base, "-")
	if !ok && len(base) != generatedBase {
		return "", false
	}
	return name, name != ""
}

// jobController tells the Jobs of a CronJob by their names: NAME-MINUTES, the time for which they were planned in minutes
// since 1970 (pkg/controller/cronjob, getJobName). A number that is far from the pod's creation is something else.
func jobController(job string, created time.Time) Controller {
	const early, late = 24 * time.Hour, 30 * 24 * time.Hour
	i := strings.LastIndexByte(job, '-')
	if i <= 0 || len(job)-i-1 != minutesOfCronJob || !isDigits(job[i+1:]) {
		return Controller{"Job", job}
	}
	minutes, err := strconv.ParseInt(job[i+1:], 10, 64)
	if err != nil {
		return Controller{"Job", job}
	}
	if after := created.Sub(time.Unix(60*minutes, 0)); !created.IsZero() && (after < -early || after > late) {
		return Controller{"Job", job}
	}
	return Controller{"CronJob", job[:i]}
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
