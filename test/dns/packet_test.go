// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/spoor/spoor/agent/kernel"
	"github.com/spoor/spoor/bpf"
)

// TestPackets runs the program alone, on packets that no kernel would hand to a socket, too (BPF_PROG_TEST_RUN). Whatever comes, it
// is let through: the program returns 1. Those that the program takes for answers are counted, since their socket has no owner.
func TestPackets(t *testing.T) {
	spec, err := bpf.LoadDns()
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return name != "dns_answered" })
	objects, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer objects.Close()
	message := make([]byte, 12)
	taken := func(packet []byte) uint64 {
		t.Helper()
		before := counted(t, objects.Maps[bpf.DnsMapLosses])
		verdict, err := objects.Programs["dns_answered"].Run(&ebpf.RunOptions{Data: packet})
		if err != nil {
			t.Fatalf("%x: %v", packet, err)
		}
		if verdict != 1 {
			t.Errorf("%x: the program returned %d, want 1", packet, verdict)
		}
		return counted(t, objects.Maps[bpf.DnsMapLosses]) - before
	}
	var major, minor int
	release, _ := kernel.Release()
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	if old := major < 6 || major == 6 && minor < 13; old && taken(frame(unix.ETH_P_IP, ipv4(5, unix.IPPROTO_UDP), udp(53, message))) == 0 {
		t.Skip("kernels before 6.13 do not let such a program read the packet when it is run alone")
	}
	for _, c := range []struct {
		what   string
		packet []byte
		taken  bool
	}{
		{"an answer", frame(unix.ETH_P_IP, ipv4(5, unix.IPPROTO_UDP), udp(53, message)), true},
		{"behind options of IPv4", frame(unix.ETH_P_IP, ipv4(15, unix.IPPROTO_UDP), udp(53, message)), true},
		{"over IPv6", frame(unix.ETH_P_IPV6, ipv6(unix.IPPROTO_UDP), udp(53, message)), true},
		{"from another port", frame(unix.ETH_P_IP, ipv4(5, unix.IPPROTO_UDP), udp(54, message)), false},
		{"over TCP", frame(unix.ETH_P_IP, ipv4(5, unix.IPPROTO_TCP), udp(53, message)), false},
		{"over TCP and IPv6", frame(unix.ETH_P_IPV6, ipv6(unix.IPPROTO_TCP), udp(53, message)), false},
		{"shorter than a header of DNS", frame(unix.ETH_P_IP, ipv4(5, unix.IPPROTO_UDP), udp(53, message[:11])), false},
		{"without all of its UDP header", frame(unix.ETH_P_IP, ipv4(5, unix.IPPROTO_UDP), udp(53, nil)[:7]), false},
		{"whose header says it is longer than the packet", frame(unix.ETH_P_IP, ipv4(5, unix.IPPROTO_UDP, 0x4f), udp(53, message)[:4]), false},
		{"behind an extension of IPv6", frame(unix.ETH_P_IPV6, ipv6(unix.IPPROTO_HOPOPTS), udp(53, message)), false},
	} {
		if n := taken(c.packet); n > 0 != c.taken {
			t.Errorf("%s: %d were counted as answers, taken should be %v", c.what, n, c.taken)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		packet := make([]byte, 54+random.IntN(100)) // less than the headers of Ethernet and IPv6 is refused by the kernel
		for i := range packet {
			packet[i] = byte(random.Uint32())
		}
		binary.BigEndian.PutUint16(packet[12:], []uint16{unix.ETH_P_IP, unix.ETH_P_IPV6, 0x1234}[random.IntN(3)])
		if random.IntN(2) == 0 { // more of them get past the first question
			packet[14+9], packet[14+6] = unix.IPPROTO_UDP, unix.IPPROTO_UDP
			copy(packet[14+20:], udp(53, nil))
		}
		taken(packet)
	}
}

// frame is an Ethernet frame. The kernel takes its header off and tells the program the protocol.
func frame(protocol uint16, header, payload []byte) []byte {
	f := binary.BigEndian.AppendUint16(make([]byte, 12), protocol)
	return append(append(f, header...), payload...)
}

// ipv4 has so many words of 32 bits. first, where given, is put in place of its version and length.
func ipv4(words int, protocol byte, first ...byte) []byte {
	h := make([]byte, words*4)
	h[0], h[9] = 0x40|byte(words), protocol
	copy(h, first)
	return h
}

func ipv6(next byte) []byte {
	h := make([]byte, 40)
	h[0], h[6] = 0x60, next
	return h
}

func udp(source uint16, message []byte) []byte {
	h := binary.BigEndian.AppendUint16(nil, source)
	return append(append(h, make([]byte, 6)...), message...)
}

// counted sums all losses.
func counted(t *testing.T, losses *ebpf.Map) uint64 {
	t.Helper()
	var sum uint64
	for reason := range losses.MaxEntries() {
		var each []uint64
		if err := losses.Lookup(reason, &each); err != nil {
			t.Fatal(err)
		}
		for _, n := range each {
			sum += n
		}
	}
	return sum
}
