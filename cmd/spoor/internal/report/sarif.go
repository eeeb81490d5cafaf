// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path/filepath"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
	"github.com/spoor/spoor/contract"
)

// The parts of SARIF 2.1.0 (OASIS, 27 March 2020) that are used here.
type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool    sarifTool     `json:"tool"`
	Results []sarifResult `json:"results"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name    string      `json:"name"`
	Version string      `json:"version,omitempty"`
	Rules   []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID string `json:"id"`
}

type sarifResult struct {
	RuleID       string            `json:"ruleId"`
	Level        string            `json:"level"`
	Message      sarifMessage      `json:"message"`
	Locations    []sarifLocation   `json:"locations,omitempty"`
	Fingerprints map[string]string `json:"fingerprints"`
}

type sarifMessage struct {
	Text string `json:"text"`
}

type sarifLocation struct {
	Physical sarifPhysical `json:"physicalLocation"`
}

type sarifPhysical struct {
	Artifact sarifArtifact `json:"artifactLocation"`
	Region   sarifRegion   `json:"region"`
}

type sarifArtifact struct {
	URI string `json:"uri"`
}

type sarifRegion struct {
	StartLine int `json:"startLine"`
}

// SARIF writes each verdict as a result at the contract that it breaks.
func SARIF(w io.Writer, version string, contracts []*contract.Contract, verdicts []contract.Verdict) error {
	places := map[string][]sarifLocation{}
	for _, c := range contracts {
		if file, line := c.Position(); file != "" {
			places[c.FullName()] = []sarifLocation{{sarifPhysical{sarifArtifact{reference(file)}, sarifRegion{max(1, line)}}}}
		}
	}
	run := sarifRun{Tool: sarifTool{sarifDriver{Name: "spoor", Version: version}}, Results: []sarifResult{}}
	for _, rule := range contract.Rules() {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{rule})
	}
	for i := range verdicts {
		v := &verdicts[i]
		run.Results = append(run.Results, sarifResult{
			RuleID: v.Rule, Level: level(v.Severity), Message: sarifMessage{v.Title + " " + v.Why + " " + v.Fix},
			Locations: places[v.Contract], Fingerprints: map[string]string{"spoor/v1": v.Fingerprint()},
		})
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(sarifLog{
		Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run},
	}); err != nil {
		return fmt.Errorf("write SARIF: %w", err)
	}
	return nil
}

// reference is a file's path as a URI reference (RFC 3986, section 4.1).
func reference(file string) string {
	u := url.URL{Path: filepath.ToSlash(file)}
	if filepath.IsAbs(file) {
		u.Scheme = "file"
	}
	return u.String()
}

func level(s spoorv1.Severity) string {
	switch s {
	case spoorv1.Severity_SEVERITY_CRITICAL, spoorv1.Severity_SEVERITY_HIGH:
		return "error"
	case spoorv1.Severity_SEVERITY_MEDIUM:
		return "warning"
	default:
		return "note"
	}
}
