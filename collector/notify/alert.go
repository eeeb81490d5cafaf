// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
	"unicode"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

// Longest texts, in characters. What is about files and peers is made by whoever is watched.
const (
	maxLabel      = 128
	maxSummary    = 512
	maxAnnotation = 2048
	maxEvidence   = 20
)

// labels say what a finding is and whom it concerns: what an Alertmanager routes, groups and silences by. No value is
// empty, which there is the same as no label.
func labels(f *spoorv1.Finding) map[string]string {
	w := f.GetWorkload()
	node := ""
	if spoorv1.IsNodeKind(w.GetKind()) {
		node = w.GetNamespace()
	}
	all := map[string]string{
		"alertname":     f.GetRule(),
		"severity":      word(f.GetSeverity().String(), "SEVERITY_"),
		"cluster":       w.GetCluster(),
		"namespace":     w.GetNamespace(),
		"workload_kind": w.GetKind(),
		"workload":      w.GetName(),
		"node":          node,
		"team":          f.GetOwner().GetTeam(),
		"oncall":        f.GetOwner().GetOncall(),
		"subject":       f.GetSubject(),
		"fingerprint":   f.GetFingerprint(),
	}
	maps.DeleteFunc(all, empty)
	for name, value := range all {
		all[name] = clean(value, maxLabel)
	}
	return all
}

func empty(_, value string) bool { return value == "" }

// annotations are what a person reads who was woken up.
func annotations(f *spoorv1.Finding) map[string]string {
	all := map[string]string{
		"summary":     clean(f.GetTitle(), maxSummary),
		"description": paragraphs(f.GetWhy(), f.GetFix()),
		"evidence":    evidence(f),
		"contract":    clean(f.GetContract(), maxLabel),
		"note":        clean(f.GetNote(), maxAnnotation),
		"incomplete":  clean(strings.Join(f.GetCompleteness().GetGaps(), "; "), maxAnnotation),
		"state":       word(f.GetState().String(), "FINDING_STATE_"),
	}
	maps.DeleteFunc(all, empty)
	return all
}

func paragraphs(texts ...string) string {
	var all []string
	for _, t := range texts {
		if t != "" {
			all = append(all, clean(t, maxAnnotation))
		}
	}
	return strings.Join(all, "\n\n")
}

// evidence tells how often and when it was seen, and the ids of the events that prove it.
func evidence(f *spoorv1.Finding) string {
	times := "once"
	if f.GetCount() != 1 {
		times = fmt.Sprintf("%d times", f.GetCount())
	}
	text := "seen " + times
	if f.GetFirstSeen().IsValid() && f.GetLastSeen().IsValid() {
		text += fmt.Sprintf(", first %s, last %s", stamp(f.GetFirstSeen().AsTime()), stamp(f.GetLastSeen().AsTime()))
	}
	ids := f.GetEvidenceIds()
	if len(ids) == 0 {
		return text
	}
	shown := make([]string, 0, maxEvidence)
	for _, id := range ids[:min(len(ids), maxEvidence)] {
		shown = append(shown, strconv.FormatUint(id, 10))
	}
	text += "; events " + strings.Join(shown, ", ")
	if len(ids) > maxEvidence {
		text += fmt.Sprintf(" and %d more", len(ids)-maxEvidence)
	}
	return text
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// began is when this life of the finding began: when it was opened, or opened again.
func began(a *Alert) time.Time {
	f := a.Finding
	if f.GetState() == spoorv1.FindingState_FINDING_STATE_OPEN && f.GetStateChanged().IsValid() {
		return f.GetStateChanged().AsTime()
	}
	if f.GetFirstSeen().IsValid() {
		return f.GetFirstSeen().AsTime()
	}
	return a.Time
}

// word makes a word of the name of a protobuf enum's value.
func word(name, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(name, prefix))
}

// clean writes what a reader could not see, or a terminal or a chat would act upon, as an escape, and cuts what is too long. Alertmanager hands texts to
// Slack as they are, where <!channel> calls everybody and <https://...|words> is a link.
func clean(s string, limit int) string {
	var b strings.Builder
	n := 0
	for _, r := range strings.ToValidUTF8(s, string(unicode.ReplacementChar)) {
		if n++; n > limit {
			b.WriteString("…")
			break
		}
		if r == '<' {
			b.WriteString(`\x3c`)
			continue
		}
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
	}
	return b.String()
}
