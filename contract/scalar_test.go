// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"encoding"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	spoorv1 "github.com/spoor/spoor/api/spoor/v1"
)

func read[T any, P interface {
	*T
	encoding.TextUnmarshaler
}](text string) (T, error) {
	var v T
	err := P(&v).UnmarshalText([]byte(text))
	return v, err
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "10m": 10 * time.Minute, "12h": 12 * time.Hour, "1d": day, "1d12h30m5s": day + 12*time.Hour + 30*time.Minute + 5*time.Second,
	} {
		if got, err := read[Duration](text); err != nil || time.Duration(got) != want {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
	for text, fix := range map[string]string{
		"": "write a whole number of s, m, h or d, for example 10m", "10": "say which unit: 10s, 10m, 10h or 10d", "1.5h": "write 1h30m",
		"10 minutes": "write 10m", "5 days": "write 5d", "0m": "write how long it may be, for example 10m", "99999d9999999h999999999m9999999999s": "write at most 100000d",
		"-5m": "write a whole number of s, m, h or d, for example 10m", "300ms": "write a whole number of s, m, h or d, for example 10m",
	} {
		_, err := read[Duration](text)
		if f, ok := err.(*fault); !ok || f.fix != fix {
			t.Errorf("%q: %v, want the fix %q", text, err, fix)
		}
	}
	if got := Duration(36*time.Hour + 500*time.Millisecond).String(); got != "1d12h" {
		t.Error(got)
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{"4096": 4096, "64Mi": 64 << 20, "1Gi": 1 << 30, "2Ti": 2 << 40, "500k": 500000, "1M": 1000000} {
		if got, err := read[Bytes](text); err != nil || got != want {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
	for text, fix := range map[string]string{
		"64MB": "write 64M", "64 MiB": "write 64Mi", "64mi": "write 64Mi", "1.5Gi": "write 1536Mi", "1K": "write 1k", "0": "leave the path out of scratch if nothing may be written there",
		"999999999999999Ti": "write at most 8000000Ti", "much": "write a whole number with Ki, Mi, Gi or Ti, for example 64Mi",
	} {
		if _, err := read[Bytes](text); err == nil || err.(*fault).fix != fix {
			t.Errorf("%q: %v, want the fix %q", text, err, fix)
		}
	}
	for b, want := range map[Bytes]string{0: "0", 1: "1", 1024: "1Ki", 1536: "1536", 64 << 20: "64Mi", 1e6: "1M", 3 << 40: "3Ti"} {
		if got := b.String(); got != want {
			t.Errorf("%d is written %s, want %s", uint64(b), got, want)
		}
	}
}

func TestPorts(t *testing.T) {
	for text, want := range map[string]Ports{"443": {443, 443}, "8000-8010": {8000, 8010}, "1-65535": {1, 65535}} {
		if got, err := read[Ports](text); err != nil || got != want || got.String() != text {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"0", "65536", "-1", "http", "1-", "9-3", "1,2", "99999999999999999999", ""} {
		if got, err := read[Ports](text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestJSONForm(t *testing.T) {
	call := Call{Port: Port(443), DNS: "a.b"}
	data, err := json.Marshal(struct {
		Call  Call
		Range Ports
		Age   Duration
	}{call, Ports{1, 9}, Duration(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"Call":{"dns":"a.b","port":443},"Range":"1-9","Age":"1h"}`; string(data) != want {
		t.Errorf("got %s", data)
	}
	var back struct {
		Call  Call
		Range Ports
	}
	if err := json.Unmarshal(data, &back); err != nil || back.Call != call || back.Range != (Ports{1, 9}) {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestDNSName(t *testing.T) {
	for _, tc := range []struct {
		pattern string
		yes, no []string
	}{
		{"api.stripe.com", []string{"api.stripe.com"}, []string{"stripe.com", "x.api.stripe.com"}},
		{"*.stripe.com", []string{"api.stripe.com", "a.b.stripe.com"}, []string{"stripe.com", "evilstripe.com", ".stripe.com", "api.stripe.com.evil.org"}},
		{"s3-*.amazonaws.com", []string{"s3-eu.amazonaws.com", "s3-.amazonaws.com"}, []string{"s3-a.b.amazonaws.com"}},
		{"*", []string{"x", "a.b"}, []string{""}},
		{"API.Stripe.COM.", []string{"api.stripe.com"}, nil},
		{"_ldap._tcp.corp", []string{"_ldap._tcp.corp"}, nil},
		{"*.s3-*.com", []string{"a.s3-x.com", "b.a.s3-x.com"}, []string{"s3-x.com", "a.s3-x.y.com"}},
	} {
		p, err := read[DNSName](tc.pattern)
		if err != nil {
			t.Errorf("%s: %v", tc.pattern, err)
			continue
		}
		for _, name := range tc.yes {
			if !p.matches(name) {
				t.Errorf("%s does not cover %q", p, name)
			}
		}
		for _, name := range tc.no {
			if p.matches(name) {
				t.Errorf("%s covers %q", p, name)
			}
		}
	}
	for _, text := range []string{"", ".", "a..b", "https://x.y/z", "x.y:443", "-a.b", "**.x", "müller.de", "a b"} {
		if got, err := read[DNSName](text); err == nil {
			t.Errorf("%q is %q", text, got)
		}
	}
}

func TestRef(t *testing.T) {
	self := &spoorv1.Workload{Cluster: "east", Namespace: "shop", Kind: "Deployment", Name: "checkout"}
	for _, tc := range []struct {
		ref  string
		w    *spoorv1.Workload
		want bool
	}{
		{"shop/Deployment/payments", &spoorv1.Workload{Cluster: "east", Namespace: "shop", Kind: "Deployment", Name: "payments"}, true},
		{"shop/Deployment/payments", &spoorv1.Workload{Cluster: "west", Namespace: "shop", Kind: "Deployment", Name: "payments"}, false},
		{"*/shop/Deployment/payments", &spoorv1.Workload{Cluster: "west", Namespace: "shop", Kind: "Deployment", Name: "payments"}, true},
		{"Deployment/payments", &spoorv1.Workload{Cluster: "east", Namespace: "shop", Kind: "Deployment", Name: "payments"}, true},
		{"Deployment/payments", &spoorv1.Workload{Cluster: "east", Namespace: "other", Kind: "Deployment", Name: "payments"}, false},
		{"*/Deployment/pay*", &spoorv1.Workload{Cluster: "east", Namespace: "other", Kind: "Deployment", Name: "payments"}, true},
		{"shop/*/payments", &spoorv1.Workload{Cluster: "east", Namespace: "shop", Kind: "StatefulSet", Name: "payments"}, true},
	} {
		ref, err := read[Ref](tc.ref)
		if err != nil {
			t.Fatal(err)
		}
		if ref.String() != tc.ref {
			t.Errorf("%s is written %s", tc.ref, ref)
		}
		if got := ref.matches(tc.w, self); got != tc.want {
			t.Errorf("%s and %v: %v", tc.ref, tc.w, got)
		}
	}
	for _, text := range []string{"", "payments", "a/b/c/d/e", "shop//payments", "shop/deployment/payments", "/Deployment/x", "shop/Deployment/a b"} {
		if got, err := read[Ref](text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{
		"scrach": "scratch", "Scratch": "scratch", "scratchs": "scratch", "listen": "listens", "clals": "calls", "owners": "owner", "banana": "", "x": "",
	} {
		if got, _ := nearest(word, []string{"workload", "owner", "state", "scratch", "volumes", "listens", "callers", "calls"}); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}

func FuzzScalars(f *testing.F) {
	for _, s := range []string{"10m", "64Mi", "8000-8010", "10.0.0.0/8", "fd00::/8", "*.a.b", "a/B/c", "/tmp/**", "stateless", "tcp", "cache"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		again(t, s, read[Duration])
		again(t, s, read[Bytes])
		again(t, s, read[Ports])
		again(t, s, read[CIDR])
		again(t, s, read[DNSName])
		again(t, s, read[NamePattern])
		again(t, s, read[Ref])
		again(t, s, read[PathPattern])
		again(t, s, read[Purpose])
	})
}

// again checks that a value that could be read is written so that it is read as the same.
func again[T comparable](t *testing.T, s string, read func(string) (T, error)) {
	t.Helper()
	v, err := read(s)
	if err != nil {
		if f, ok := err.(*fault); !ok || f.problem == "" || f.fix == "" {
			t.Fatalf("%T %q: %v", v, s, err)
		}
		return
	}
	w, err := read(fmt.Sprint(v))
	if err != nil || v != w {
		t.Fatalf("%T %q: %s", v, s, cmp.Diff(fmt.Sprint(v), fmt.Sprint(w)))
	}
}
