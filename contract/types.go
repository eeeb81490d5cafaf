// SPDX-License-Identifier: Apache-2.0

package contract

// Each field's comment is its description in the published JSON schema (schema.json): plain sentences
// for the author of a contract. A field without "omitzero" is required.

const (
	// APIVersion is the only version of the format.
	APIVersion = "spoor.dev/v1"
	// Kind is the only kind of document.
	Kind = "Contract"
)

// Contract is what has been agreed about one workload, or about every workload that its selector matches.
// A contract is not changed after it was parsed or put into a [Set].
type Contract struct {
	// The version of this format: spoor.dev/v1.
	APIVersion string `json:"apiVersion"`
	// The kind of document: Contract.
	Kind string `json:"kind"`
	// The name of the contract itself.
	Metadata Metadata `json:"metadata"`
	// What has been agreed.
	Spec Spec `json:"spec"`

	// Where the document begins; empty and 0 for a contract that was not parsed.
	file string
	line int
	// It is about no workload of a node's own, whatever it selects.
	podsOnly bool
}

// Metadata names a contract; it is Kubernetes' own, as far as a file needs it.
type Metadata struct {
	// Name of the contract, unique within its namespace. Findings refer to it.
	Name string `json:"name"`
	// Namespace of the contract and, unless spec.workload says otherwise, of its workload.
	Namespace string `json:"namespace,omitzero"`
	// Labels for tools that select contracts; they have no meaning here.
	Labels map[string]string `json:"labels,omitzero"`
	// Annotations for tools; they have no meaning here.
	Annotations map[string]string `json:"annotations,omitzero"`
}

// Spec is what has been agreed. A nil list of listens, callers or calls means that nothing was agreed about
// that side, which is then not judged; an empty one means that none is allowed.
type Spec struct {
	// Which workload the contract is about.
	Workload Selector `json:"workload"`
	// Whom to ask and whom to page.
	Owner Owner `json:"owner,omitzero"`
	// Whether the workload may keep state on the node. Left out: stateless for Deployment, ReplicaSet, ReplicationController, Job and CronJob, stateful for StatefulSet, not judged for every other kind.
	State State `json:"state,omitzero"`
	// Where the workload may write for a short time. No two paths may overlap.
	Scratch []Scratch `json:"scratch,omitzero"`
	// Where the workload may keep files, and what they are.
	Volumes []Volume `json:"volumes,omitzero"`
	// The ports on which the workload accepts traffic. Left out: not judged. Empty: none is allowed.
	Listens []Listen `json:"listens,omitzero"`
	// Who may call the workload. Left out: not judged. Empty: nobody may.
	Callers []Caller `json:"callers,omitzero"`
	// Whom the workload may call. Left out: not judged. Empty: nobody.
	Calls []Call `json:"calls,omitzero"`
	// What it shares with other workloads on purpose: files, memory and Unix sockets.
	Shares []Share `json:"shares,omitzero"`
}

// Selector selects workloads: by kind and name, by labels, or by both. In each part but labels * stands for any characters.
type Selector struct {
	// The cluster; left out means every cluster, and hosts that belong to none.
	Cluster NamePattern `json:"cluster,omitzero"`
	// The namespace; on a plain host the name of the node. Left out: metadata.namespace, and when that is left out too, every namespace.
	Namespace NamePattern `json:"namespace,omitzero"`
	// The kind of the owner: Deployment, StatefulSet, DaemonSet, Job and so on in Kubernetes; Unit, Container, Session, Host or Kernel elsewhere. Left out beside matchLabels or matchExpressions: every kind.
	Kind NamePattern `json:"kind,omitzero"`
	// The name of the owner, for example checkout or nginx.service. Left out beside matchLabels or matchExpressions: every name.
	Name NamePattern `json:"name,omitzero"`
	// Labels that the pods of the workload carry, or the container, each with exactly this value.
	MatchLabels Selection `json:"matchLabels,omitzero"`
	// What else is true of its labels, as in Kubernetes' selectors; all of it must be.
	MatchExpressions []Expression `json:"matchExpressions,omitzero"`
}

// Selection is labels that a workload must have.
type Selection map[string]string

// Expression is something that is true of one label.
type Expression struct {
	// The key of the label.
	Key string `json:"key"`
	// In: the label has one of the values. NotIn: it has none of them, or there is no such label. Exists: there is one, whatever its value. DoesNotExist: there is none.
	Operator Operator `json:"operator"`
	// The values of In and NotIn.
	Values []string `json:"values,omitzero"`
}

// Owner is whom to ask about a workload.
type Owner struct {
	// The team that answers for the workload.
	Team string `json:"team,omitzero"`
	// Who is paged: the name of a rotation or schedule.
	Oncall string `json:"oncall,omitzero"`
}

// Scratch is a place for files that nobody misses.
type Scratch struct {
	// A path or glob. A path without wildcards covers everything below it.
	Path PathPattern `json:"path"`
	// How old a file may become, counted from the first write that was seen, for example 90s, 10m, 12h or 1d. Left out: 10m in a stateless workload, otherwise not limited.
	MaxAge Duration `json:"maxAge,omitzero"`
	// How much all files of one instance below the path may hold together, for example 512Ki, 64Mi or 1Gi. Left out: not limited.
	MaxBytes Bytes `json:"maxBytes,omitzero"`
}

// Volume is a place where files may stay.
type Volume struct {
	// A path or glob. A path without wildcards covers everything below it.
	Path PathPattern `json:"path"`
	// What the files are: cache, log, session, upload, database, lock, config, binary or data.
	Class Class `json:"class"`
}

// Listen is a port on which the workload accepts traffic.
type Listen struct {
	// A port, or a range such as 8000-8010.
	Port Ports `json:"port"`
	// The transport: tcp, udp or sctp. Left out: tcp.
	Transport Transport `json:"transport,omitzero"`
}

// Caller is somebody who may call. Exactly one of workload and cidr is written.
type Caller struct {
	// The calling workload as namespace/kind/name, kind/name in the same namespace, or cluster/namespace/kind/name; * stands for any characters within a part.
	Workload Ref `json:"workload,omitzero"`
	// The callers' addresses, for example 10.0.0.0/8.
	CIDR CIDR `json:"cidr,omitzero"`
	// The port, or a range, that is called. Left out: every port.
	Port Ports `json:"port,omitzero"`
	// The transport: tcp, udp or sctp. Left out: tcp.
	Transport Transport `json:"transport,omitzero"`
}

// Call is somebody whom the workload may call. Exactly one of workload, dns and cidr is written.
type Call struct {
	// The called workload as namespace/kind/name, kind/name in the same namespace, or cluster/namespace/kind/name; * stands for any characters within a part.
	Workload Ref `json:"workload,omitzero"`
	// The name that is resolved. *.example.com covers every name below example.com.
	DNS DNSName `json:"dns,omitzero"`
	// The called addresses, for example 10.20.0.0/16.
	CIDR CIDR `json:"cidr,omitzero"`
	// The port, or a range such as 9000-9010, at the called side. Left out: every port.
	Port Ports `json:"port,omitzero"`
	// The transport: tcp, udp or sctp. Left out: tcp.
	Transport Transport `json:"transport,omitzero"`
	// What the call is for, one lower-case word. backing-service says that the other end keeps the state of this workload, shared-backing-service that others may keep theirs there too; any other is for readers.
	Purpose Purpose `json:"purpose,omitzero"`
}

// Share is what a workload has in common with others on purpose. At least one of workload and path is written.
type Share struct {
	// The other workload as namespace/kind/name, kind/name in the same namespace, or cluster/namespace/kind/name; * stands for any characters within a part. Left out: everybody.
	Workload Ref `json:"workload,omitzero"`
	// The file, socket or piece of memory, as this workload sees it. A path without wildcards covers everything below it. Left out: everything.
	Path PathPattern `json:"path,omitzero"`
}

// FullName is namespace/name of the contract, or its name alone when it has no namespace.
func (c *Contract) FullName() string {
	if c.Metadata.Namespace == "" {
		return c.Metadata.Name
	}
	return c.Metadata.Namespace + "/" + c.Metadata.Name
}

// Position returns the file that the contract was parsed from and the line where its document begins,
// or "" and 0.
func (c *Contract) Position() (file string, line int) { return c.file, c.line }

// Within narrows a contract to the pods of one namespace of a cluster. Whatever it selects, it is then about none of what runs on a node beside
// these, also where a node is called as the namespace is. The contract must not be in a set yet.
func (c *Contract) Within(cluster, namespace string) {
	c.Spec.Workload.Cluster, c.Spec.Workload.Namespace = NamePattern(cluster), NamePattern(namespace)
	c.podsOnly = true
}

// namespace is the namespace pattern that the contract selects by, "" for all.
func (c *Contract) namespace() NamePattern {
	if c.Spec.Workload.Namespace != "" {
		return c.Spec.Workload.Namespace
	}
	return NamePattern(c.Metadata.Namespace)
}

// NotJudged lists the parts of spec that the contract leaves out and that are therefore not judged.
func (c *Contract) NotJudged() []string {
	var parts []string
	if c.Spec.Listens == nil {
		parts = append(parts, "listens")
	}
	if c.Spec.Callers == nil {
		parts = append(parts, "callers")
	}
	if c.Spec.Calls == nil {
		parts = append(parts, "calls")
	}
	return parts
}
