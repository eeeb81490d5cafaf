// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"math"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/collector/store"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// text is a string with its name and bound.
type text struct {
	name string
	s    string
	max  int
}

func checkTexts(texts ...text) error {
	for _, t := range texts {
		if len(t.s) > t.max {
			return refuse(reasonSize, "%s has %d bytes, at most %d are taken", t.name, len(t.s), t.max)
		}
	}
	return nil
}

// checkTime takes what nanoseconds since 1970 can say, and no time at all.
func checkTime(ts *timestamppb.Timestamp) error {
	if ts == nil {
		return nil
	}
	if s, n := ts.GetSeconds(), ts.GetNanos(); s < 0 || s >= math.MaxInt64/int64(1e9) || n < 0 || n >= 1e9 {
		return refuse(reasonTime, "the time %d.%09d is not between the years 1970 and 2262", s, n)
	}
	return nil
}

func checkTimes(times ...*timestamppb.Timestamp) error {
	for _, ts := range times {
		if err := checkTime(ts); err != nil {
			return err
		}
	}
	return nil
}

func checkProcess(p *spoorv1.Process) error {
	if p.GetExecId() == "" {
		return refuse(reasonFact, "exec_id is empty")
	}
	args := len(p.GetArgsRaw())
	for _, a := range p.GetArgs() {
		args += len(a) + maxArgs/maxArgCount
	}
	if args > maxArgs {
		return refuse(reasonSize, "args have %d bytes, at most %d are taken", args, maxArgs)
	}
	if err := checkTexts(
		text{"exec_id", p.GetExecId(), maxExecID}, text{"parent_exec_id", p.GetParentExecId(), maxExecID},
		text{"comm", p.GetComm(), maxName}, text{"exe", p.GetExe(), maxPath}, text{"cwd", p.GetCwd(), maxPath},
	); err != nil {
		return err
	}
	return checkTime(p.GetStartTime())
}

func checkInstance(run store.Run, in *spoorv1.Instance) error {
	// Who may see what is decided by this cluster. Agents that do not know theirs leave it out.
	if w := in.GetWorkload(); w != nil && w.GetCluster() == "" {
		w.Cluster = run.Cluster
	} else if w != nil && w.GetCluster() != run.Cluster {
		return refuse(reasonIdentity, "it is of the cluster %q, and the agent of %q", w.GetCluster(), run.Cluster)
	}
	if in.GetId() == "" {
		return refuse(reasonFact, "id is empty")
	}
	if err := checkTexts(
		text{"id", in.GetId(), maxName}, text{"cgroup_path", in.GetCgroupPath(), maxPath}, text{"container_id", in.GetContainerId(), maxName},
		text{"pod_name", in.GetPodName(), maxName}, text{"pod_uid", in.GetPodUid(), maxName}, text{"container_name", in.GetContainerName(), maxName},
	); err != nil {
		return err
	}
	if n := len(in.GetAddresses()); n > maxAddresses {
		return refuse(reasonSize, "%d addresses, at most %d are taken", n, maxAddresses)
	}
	for _, a := range in.GetAddresses() {
		if err := checkTexts(text{"addresses", a, maxName}); err != nil {
			return err
		}
	}
	if err := checkLabels(in.GetLabels()); err != nil {
		return err
	}
	if err := checkWorkload(in.GetWorkload()); err != nil {
		return err
	}
	return checkTime(in.GetStartTime())
}

func checkLabels(labels map[string]string) error {
	size := 0
	for key, value := range labels {
		size += len(key) + len(value)
	}
	if n := len(labels); n > maxLabels || size > maxLabelBytes {
		return refuse(reasonSize, "%d labels have %d bytes, at most %d of %d are taken", n, size, maxLabels, maxLabelBytes)
	}
	return nil
}

func checkWorkload(w *spoorv1.Workload) error {
	return checkTexts(
		text{"workload.cluster", w.GetCluster(), maxName}, text{"workload.namespace", w.GetNamespace(), maxName},
		text{"workload.kind", w.GetKind(), maxName}, text{"workload.name", w.GetName(), maxName},
	)
}

func checkFact(ev *spoorv1.Event) error {
	switch f := ev.GetFact().(type) {
	case *spoorv1.Event_FileWrite:
		if err := checkFile(f.FileWrite.GetFile()); err != nil {
			return err
		}
		return checkTimes(f.FileWrite.GetFirst(), f.FileWrite.GetLast())
	case *spoorv1.Event_FileChange:
		if err := checkFile(f.FileChange.GetFile()); err != nil {
			return err
		}
		if n := len(f.FileChange.GetTargetPathRaw()); n > maxPath {
			return refuse(reasonSize, "target_path_raw has %d bytes, at most %d are taken", n, maxPath)
		}
		return checkTexts(text{"target_path", f.FileChange.GetTargetPath(), maxPath})
	case *spoorv1.Event_Flow:
		return checkFlow(f.Flow)
	case *spoorv1.Event_Listen:
		return checkEndpoint("local", f.Listen.GetLocal())
	case *spoorv1.Event_Dns:
		return checkDNS(f.Dns)
	case *spoorv1.Event_Share:
		return checkShare(f.Share)
	case *spoorv1.Event_Loss:
		if err := checkTimes(f.Loss.GetFrom(), f.Loss.GetTo()); err != nil {
			return err
		}
		return checkTexts(text{"source", f.Loss.GetSource(), maxName}, text{"reason", f.Loss.GetReason(), maxName})
	case *spoorv1.Event_Coverage:
		return checkTexts(
			text{"sensor", f.Coverage.GetSensor(), maxName}, text{"tier", f.Coverage.GetTier(), maxName},
			text{"reason", f.Coverage.GetReason(), maxReason},
		)
	}
	return nil
}

func checkDNS(d *spoorv1.Dns) error {
	for _, list := range []struct {
		name  string
		items []string
	}{{"addresses", d.GetAddresses()}, {"types", d.GetTypes()}, {"aliases", d.GetAliases()}} {
		if n := len(list.items); n > maxAddresses {
			return refuse(reasonSize, "%d %s, at most %d are taken", n, list.name, maxAddresses)
		}
		for _, item := range list.items {
			if err := checkTexts(text{list.name, item, maxName}); err != nil {
				return err
			}
		}
	}
	if d.GetServer() != nil {
		if err := checkEndpoint("server", d.GetServer()); err != nil {
			return err
		}
	}
	if err := checkTimes(d.GetFirst(), d.GetLast()); err != nil {
		return err
	}
	return checkTexts(text{"name", d.GetName(), maxName})
}

func checkShare(s *spoorv1.Share) error {
	// Memory and sockets have no file.
	if s.GetFile() != nil {
		if err := checkFile(s.GetFile()); err != nil {
			return err
		}
	}
	if err := checkWorkload(s.GetOther()); err != nil {
		return err
	}
	if err := checkTime(s.GetWritten()); err != nil {
		return err
	}
	return checkTexts(text{"other_exec_id", s.GetOtherExecId(), maxExecID}, text{"other_instance", s.GetOtherInstance(), maxName})
}

func checkFile(f *spoorv1.File) error {
	if f == nil {
		return refuse(reasonFact, "file is not set")
	}
	if n := len(f.GetPathRaw()); n > maxPath {
		return refuse(reasonSize, "path_raw has %d bytes, at most %d are taken", n, maxPath)
	}
	v := f.GetVolume()
	return checkTexts(
		text{"path", f.GetPath(), maxPath}, text{"host_path", f.GetHostPath(), maxPath}, text{"fs_type", f.GetFsType(), maxName},
		text{"volume.name", v.GetName(), maxName}, text{"volume.type", v.GetType(), maxName}, text{"volume.claim", v.GetClaim(), maxName},
		text{"volume.pod_uid", v.GetPodUid(), maxName},
	)
}

func checkFlow(f *spoorv1.Flow) error {
	if err := checkEndpoint("local", f.GetLocal()); err != nil {
		return err
	}
	if err := checkEndpoint("peer", f.GetPeer()); err != nil {
		return err
	}
	if n := len(f.GetClientPorts()); n > maxClientPorts {
		return refuse(reasonSize, "%d client_ports, at most %d are taken", n, maxClientPorts)
	}
	for _, p := range f.GetClientPorts() {
		if p > math.MaxUint16 {
			return refuse(reasonFact, "client port %d is none", p)
		}
	}
	if n := len(f.GetTranslations()); n > maxTranslations {
		return refuse(reasonSize, "%d translations, at most %d are taken", n, maxTranslations)
	}
	for _, t := range f.GetTranslations() {
		if err := checkEndpoint("translations.server", t.GetServer()); err != nil {
			return err
		}
		if err := checkEndpoint("translations.client", t.GetClient()); err != nil {
			return err
		}
	}
	return checkTimes(f.GetFirst(), f.GetLast())
}

func checkEndpoint(name string, e *spoorv1.Endpoint) error {
	if e == nil {
		return refuse(reasonFact, "%s is not set", name)
	}
	if e.GetPort() > math.MaxUint16 {
		return refuse(reasonFact, "port %d of %s is none", e.GetPort(), name)
	}
	if err := checkTexts(
		text{name + ".address", e.GetAddress(), maxName}, text{name + ".dns_name", e.GetDnsName(), maxName}, text{name + ".exec_id", e.GetExecId(), maxExecID},
	); err != nil {
		return err
	}
	return checkWorkload(e.GetWorkload())
}
