// SPDX-License-Identifier: Apache-2.0

package act

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Addresses of the act's own network namespace (RFC 5737): where the server listens, by which it is called as a service, and as
// whom a call arrives that is masked.
func natServer() netip.Addr  { return netip.AddrFrom4([4]byte{198, 51, 100, 1}) }
func natService() netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, 10}) }
func natMask() netip.Addr    { return netip.AddrFrom4([4]byte{198, 51, 100, 2}) }

// servicePort is where the service is called; its server listens on another.
const servicePort = 80

// natActs call a server whose address, or the caller's, is translated on the way.
func natActs() []*Act {
	direct := conversation{listen: natServer(), call: natServer()}
	service, masked := direct, direct
	service.translate = callAsService
	masked.translate = callMasked
	return []*Act{
		service.act("tcp4-dnat", "a TCP conversation with a service address that the node translates to its server's (DNAT, as of a ClusterIP)", needNAT),
		masked.act("tcp4-snat", "a TCP conversation whose client arrives under another address (SNAT, as of a node in front of its pods)", needNAT),
	}
}

// natAddresses gives this (own) namespace the addresses, and a way to the service's, which is nobody's.
func natAddresses() error {
	lo, err := loopback()
	if err != nil {
		return err
	}
	host := func(a netip.Addr) *net.IPNet { return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)} }
	for _, a := range []netip.Addr{natServer(), natMask()} {
		if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: host(a)}); err != nil {
			return fmt.Errorf("add address %v: %w", a, err)
		}
	}
	if err := netlink.RouteAdd(&netlink.Route{
		LinkIndex: lo.Attrs().Index, Dst: host(natService()), Src: natServer().AsSlice(), Scope: netlink.SCOPE_LINK,
	}); err != nil {
		return fmt.Errorf("add route to %v: %w", natService(), err)
	}
	return nil
}

// callAsService translates the service's address to the server's, and returns it.
func callAsService(server netip.AddrPort) (netip.AddrPort, error) {
	err := addNAT("called", nftables.ChainHookOutput, nftables.ChainPriorityNATDest, natService(),
		&expr.Immediate{Register: 1, Data: server.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(server.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2})
	return netip.AddrPortFrom(natService(), servicePort), err
}

// callMasked gives those who call the server another address.
func callMasked(server netip.AddrPort) (netip.AddrPort, error) {
	err := addNAT("masked", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, server.Addr(),
		&expr.Immediate{Register: 1, Data: natMask().AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1})
	return server, err
}

// addNAT adds a chain with one rule to this (own) namespace: for packets to an address.
func addNAT(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority, to netip.Addr, translation ...expr.Any) error {
	const destination = 16 // where an IPv4 header has it
	rules, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := rules.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "spoor-act"})
	chain := rules.AddChain(&nftables.Chain{Name: name, Table: table, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: priority})
	rules.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: slices.Concat([]expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: destination, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: to.AsSlice()},
	}, translation)})
	if err := rules.Flush(); err != nil {
		return fmt.Errorf("translate addresses to %v: %w", to, err)
	}
	return nil
}

// needNAT: the kernel translates addresses by nftables, and has loaded what it takes: to ask it for more would load modules for good.
func needNAT(string) (_ string, err error) {
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	missing := []string{"nft_nat_init", "nft_nat_do_chain"}
	for lines := bufio.NewScanner(f); len(missing) > 0; {
		if !lines.Scan() {
			return "address translation by nftables (nft_nat, nft_chain_nat) is not loaded, and the act loads no modules", lines.Err()
		}
		if fields := strings.Fields(lines.Text()); len(fields) >= 3 {
			missing = slices.DeleteFunc(missing, func(name string) bool { return name == fields[2] })
		}
	}
	return "", nil
}
