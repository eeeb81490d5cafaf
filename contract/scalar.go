// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fault is what is wrong with one value and what to write instead. Every scalar type of the format
// returns one from UnmarshalText, so that YAML, JSON and the command line refuse a value in the same words.
type fault struct{ problem, fix string }

func (f *fault) Error() string { return f.problem + "; " + f.fix }

func faultf(fix, problem string, args ...any) *fault {
	return &fault{problem: fmt.Sprintf(problem, args...), fix: fix}
}

// Duration is a length of time, written as whole days, hours, minutes and seconds: 90s, 10m, 1d12h.
type Duration time.Duration

const day = 24 * time.Hour

var durationUnits = []struct {
	name string
	size time.Duration
}{{"d", day}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}

var durationForm = regexp.MustCompile(`^(?:(\d{1,5})d)?(?:(\d{1,7})h)?(?:(\d{1,9})m)?(?:(\d{1,10})s)?$`)

// UnmarshalText reads a duration; it must be longer than zero.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	parts := durationForm.FindStringSubmatch(s)
	if s == "" || parts == nil {
		fix := "write a whole number of s, m, h or d, for example 10m"
		if _, err := strconv.ParseUint(s, 10, 32); err == nil {
			fix = fmt.Sprintf("say which unit: %ss, %[1]sm, %[1]sh or %[1]sd", s)
		} else if std, err := time.ParseDuration(s); err == nil && std >= time.Second {
			fix = "write " + Duration(std.Round(time.Second)).String()
		} else if m := regexp.MustCompile(`^(\d{1,9}) ?(d|h|m|s)(?:ays?|rs?|ours?|ins?|inutes?|ecs?|econds?)?$`).FindStringSubmatch(strings.ToLower(s)); m != nil {
			fix = "write " + m[1] + m[2]
		}
		return faultf(fix, "%q is not a duration", s)
	}
	var total time.Duration
	for i, unit := range durationUnits {
		if parts[i+1] == "" {
			continue
		}
		n, err := strconv.ParseInt(parts[i+1], 10, 64)
		if err != nil || n > int64(math.MaxInt64/unit.size) || total > math.MaxInt64-time.Duration(n)*unit.size {
			return faultf("write at most 100000d", "the duration %q is too long", s)
		}
		total += time.Duration(n) * unit.size
	}
	if total == 0 {
		return faultf("write how long it may be, for example 10m", "the duration %q is zero", s)
	}
	*d = Duration(total)
	return nil
}

// String writes the duration with the largest units that fit; parts below a second are dropped.
func (d Duration) String() string {
	rest := time.Duration(d)
	if rest < time.Second {
		return "0s"
	}
	var b strings.Builder
	for _, unit := range durationUnits {
		if n := rest / unit.size; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, unit.name)
			rest -= n * unit.size
		}
	}
	return b.String()
}

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Bytes is an amount of storage, written as Kubernetes writes quantities: 64Mi, 1Gi, 500k, 4096.
type Bytes uint64

var byteUnits = []struct {
	name string
	size uint64
}{{"Ti", 1 << 40}, {"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10}, {"T", 1e12}, {"G", 1e9}, {"M", 1e6}, {"k", 1e3}, {"", 1}}

var bytesForm = regexp.MustCompile(`^(\d{1,15})(Ki|Mi|Gi|Ti|k|M|G|T|)$`)

// UnmarshalText reads an amount; it must be greater than zero.
func (b *Bytes) UnmarshalText(text []byte) error {
	s := string(text)
	parts := bytesForm.FindStringSubmatch(s)
	if parts == nil {
		fix := "write a whole number with Ki, Mi, Gi or Ti, for example 64Mi"
		if m := regexp.MustCompile(`^(\d{1,12}) ?([kmgt])(i?)b?$`).FindStringSubmatch(strings.ToLower(s)); m != nil {
			unit := strings.ToUpper(m[2]) + m[3]
			if unit == "K" {
				unit = "k"
			}
			fix = "write " + m[1] + unit
		} else if m := regexp.MustCompile(`^(\d{1,6}\.\d{1,3})(Mi|Gi|Ti)$`).FindStringSubmatch(s); m != nil {
			f, _ := strconv.ParseFloat(m[1], 64)
			smaller := map[string]string{"Mi": "Ki", "Gi": "Mi", "Ti": "Gi"}[m[2]]
			fix = fmt.Sprintf("write %d%s", int64(math.Ceil(f*1024)), smaller)
		}
		return faultf(fix, "%q is not an amount of bytes", s)
	}
	n, err := strconv.ParseUint(parts[1], 10, 64)
	i := slices.IndexFunc(byteUnits, func(u struct {
		name string
		size uint64
	},
	) bool {
		return u.name == parts[2]
	})
	if err != nil || n > math.MaxInt64/byteUnits[i].size {
		return faultf("write at most 8000000Ti", "the amount %q is too large", s)
	}
	if n == 0 {
		return faultf("leave the path out of scratch if nothing may be written there", "the amount %q is zero", s)
	}
	*b = Bytes(n * byteUnits[i].size)
	return nil
}

// String writes the amount in the largest unit that divides it.
func (b Bytes) String() string {
	for _, unit := range byteUnits {
		if b != 0 && uint64(b)%unit.size == 0 {
			return strconv.FormatUint(uint64(b)/unit.size, 10) + unit.name
		}
	}
	return strconv.FormatUint(uint64(b), 10)
}

// MarshalText is String.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// Ports is one port or a range of ports, both ends included. The zero value means none was written.
type Ports struct{ First, Last uint16 }

// Port returns the range that holds one port.
func Port(p uint16) Ports { return Ports{First: p, Last: p} }

var portsForm = regexp.MustCompile(`^(\d{1,9})(?:-(\d{1,9}))?$`)

// UnmarshalText reads 443 or 8000-8010.
func (p *Ports) UnmarshalText(text []byte) error {
	s := string(text)
	parts := portsForm.FindStringSubmatch(s)
	if parts == nil {
		return faultf("write a number such as 443, or a range such as 8000-8010", "%q is not a port", s)
	}
	if parts[2] == "" {
		parts[2] = parts[1]
	}
	first, _ := strconv.Atoi(parts[1])
	last, _ := strconv.Atoi(parts[2])
	switch {
	case first < 1 || last < 1 || first > math.MaxUint16 || last > math.MaxUint16:
		return faultf("write a number from 1 to 65535", "%s is not a port", s)
	case first > last:
		return faultf(fmt.Sprintf("write %d-%d", last, first), "the range %s ends before it begins", s)
	}
	*p = Ports{First: uint16(first), Last: uint16(last)}
	return nil
}

func (p Ports) String() string {
	switch {
	case p == Ports{}:
		return ""
	case p.First == p.Last:
		return strconv.Itoa(int(p.First))
	default:
		return fmt.Sprintf("%d-%d", p.First, p.Last)
	}
}

// MarshalJSON writes one port as a number and a range as a string.
func (p Ports) MarshalJSON() ([]byte, error) {
	if p.First == p.Last {
		return strconv.AppendUint(nil, uint64(p.First), 10), nil
	}
	return strconv.AppendQuote(nil, p.String()), nil
}

// UnmarshalJSON reads a number or a string.
func (p *Ports) UnmarshalJSON(data []byte) error {
	return p.UnmarshalText([]byte(strings.Trim(string(data), `"`)))
}

// contains says whether the port is in the range; no range contains every port.
func (p Ports) contains(port uint32) bool {
	return p == Ports{} || uint32(p.First) <= port && port <= uint32(p.Last)
}

func (p Ports) overlaps(q Ports) bool { return p.First <= q.Last && q.First <= p.Last }

// CIDR is a range of addresses.
type CIDR struct{ netip.Prefix }

// UnmarshalText reads 10.20.0.0/16 or fd00::/8; the bits after the prefix must be zero.
func (c *CIDR) UnmarshalText(text []byte) error {
	s := string(text)
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		fix := "write an address and a prefix length, for example 10.20.0.0/16"
		if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
			fix = "write " + netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()).String()
		}
		return faultf(fix, "%q is not a range of addresses", s)
	}
	if prefix.Addr().Is4In6() {
		return faultf("write it as IPv4", "%q is an IPv4 address inside IPv6", s)
	}
	if prefix.Masked() != prefix {
		return faultf("write "+prefix.Masked().String(), "%q has bits set after its prefix", s)
	}
	c.Prefix = prefix
	return nil
}

// IsZero says that no range was written.
func (c CIDR) IsZero() bool { return c == CIDR{} }

// String is the range in text form, "" for none.
func (c CIDR) String() string {
	if c.IsZero() {
		return ""
	}
	return c.Prefix.String()
}
