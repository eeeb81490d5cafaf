// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// More addresses than this help nobody to know a name; the largest sets of real names have some twenty.
	maxAnswerAddresses = 64
	// Resolvers give up after some ten aliases.
	maxAliases = 16
)

// Message is what a DNS message answers to its first question.
type Message struct {
	// The name that was asked for: in lower case, without the dot at its end, valid UTF-8. Empty for the root.
	Name string
	// A, AAAA, TXT, ... or TYPE and a number.
	Type string
	// RFC 1035, section 4.1.1.
	ResponseCode uint8
	// The addresses of the name, also those behind aliases; not those of any other name that the message tells of.
	Addresses []netip.Addr
	// The names that stand between the name and its addresses, in their order.
	Aliases []string
	// The shortest time to live of the records that led to the addresses; 0 without any.
	TTL uint32
}

// parseMessage reads an answer that anybody may have written. What stands behind the first record that cannot be read is
// left out: the message may be cut.
func parseMessage(b []byte) (Message, error) {
	var p dnsmessage.Parser
	header, err := p.Start(b)
	if err != nil {
		return Message{}, fmt.Errorf("DNS message of %d bytes: header: %w", len(b), err)
	}
	if !header.Response {
		return Message{}, fmt.Errorf("DNS message of %d bytes is a question", len(b))
	}
	q, err := p.Question()
	if err != nil {
		return Message{}, fmt.Errorf("DNS message of %d bytes: question: %w", len(b), err)
	}
	m := Message{Name: dnsName(q.Name), Type: dnsType(q.Type), ResponseCode: uint8(header.RCode)} //nolint:gosec // four bits
	if err := p.SkipAllQuestions(); err != nil {
		return m, nil //nolint:nilerr // as much as there is
	}
	m.follow(readRecords(&p))
	return m, nil
}

// dnsRecord is an address or an alias.
type dnsRecord struct {
	owner string
	ttl   uint32
	alias string
	addr  netip.Addr // not valid for an alias
}

func readRecords(p *dnsmessage.Parser) []dnsRecord {
	var records []dnsRecord
	for len(records) < maxAnswerAddresses+maxAliases {
		h, err := p.AnswerHeader()
		if err != nil {
			break
		}
		r := dnsRecord{owner: dnsName(h.Name), ttl: h.TTL}
		if h.Class != dnsmessage.ClassINET {
			h.Type = 0
		}
		switch h.Type {
		case dnsmessage.TypeA:
			var a dnsmessage.AResource
			a, err = p.AResource()
			r.addr = netip.AddrFrom4(a.A)
		case dnsmessage.TypeAAAA:
			var a dnsmessage.AAAAResource
			a, err = p.AAAAResource()
			r.addr = netip.AddrFrom16(a.AAAA).Unmap()
		case dnsmessage.TypeCNAME:
			var c dnsmessage.CNAMEResource
			c, err = p.CNAMEResource()
			r.alias = dnsName(c.CNAME)
		default:
			if err := p.SkipAnswer(); err != nil {
				return records
			}
			continue
		}
		if err != nil {
			break
		}
		records = append(records, r)
	}
	return records
}

// follow goes from the name along its aliases to its addresses.
func (m *Message) follow(records []dnsRecord) {
	shortest := func(ttl uint32, first bool) {
		if first || ttl < m.TTL {
			m.TTL = ttl
		}
	}
	name := m.Name
	for range maxAliases {
		i := slices.IndexFunc(records, func(r dnsRecord) bool { return r.owner == name && !r.addr.IsValid() })
		if i < 0 || records[i].alias == m.Name || slices.Contains(m.Aliases, records[i].alias) {
			break
		}
		shortest(records[i].ttl, len(m.Aliases) == 0)
		name = records[i].alias
		m.Aliases = append(m.Aliases, name)
	}
	for _, r := range records {
		if r.owner != name || !r.addr.IsValid() || slices.Contains(m.Addresses, r.addr) || len(m.Addresses) == maxAnswerAddresses {
			continue
		}
		shortest(r.ttl, len(m.Addresses) == 0 && len(m.Aliases) == 0)
		m.Addresses = append(m.Addresses, r.addr)
	}
}

// dnsName makes the form in which names are compared. Resolvers may mix upper and lower case to be harder to fool.
func dnsName(n dnsmessage.Name) string {
	b := n.Data[:min(int(n.Length), len(n.Data))]
	return strings.TrimSuffix(strings.ToValidUTF8(lowerASCII(b), "\uFFFD"), ".")
}

func lowerASCII(b []byte) string {
	low := make([]byte, len(b))
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		low[i] = c
	}
	return string(low)
}

func dnsType(t dnsmessage.Type) string {
	switch t {
	case 64:
		return "SVCB"
	case 65:
		return "HTTPS"
	}
	if name, ok := strings.CutPrefix(t.String(), "Type"); ok {
		return name
	}
	return fmt.Sprintf("TYPE%d", uint16(t))
}
