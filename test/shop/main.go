// SPDX-License-Identifier: Apache-2.0

// Command shop is a small shop of seven services, each a role of this one program: the standing example for tests that
// need programs with known answers. They talk over HTTP and UDP through service addresses, and keep state in every kind of
// place that Kubernetes has.
//
//	shop storefront   takes purchases: asks catalogue for a page, orders for an order; sessions in /tmp, hits in /dev/shm
//	shop catalogue    makes pages: keeps them in an emptyDir, prices in one of memory
//	shop orders       keeps a ledger on a persistent volume, a draft on one that goes with its pod, has payments settle
//	shop payments     leaves receipts in a folder of the node
//	shop meter        counts what all others report by UDP, in a subPath of a volume
//	shop archive      files papers on volumes of a driver's: a disk, a folder, and memory
//	shop customer     buys -n times from the storefront, with a connection for each purchase, and ends
//	shop blink        makes one file, after -stay, and ends
//	shop pause        waits to be stopped, as the container that holds a pod's namespaces does
//
// What a service does it writes to its standard output, one Act a line: whoever reads the logs knows what there is to be
// seen. Where the others are it knows from the environment, as Kubernetes sets it: ORDERS_SERVICE_HOST and
// ORDERS_SERVICE_PORT, or from -orders ADDRESS and so on.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sort"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		if errors.Is(err, errUsage) {
			os.Exit(2)
		}
		os.Exit(3)
	}
}

var errUsage = errors.New("bad usage")

// service is one role.
type service func(ctx context.Context, s *stall) error

func services() map[string]service {
	return map[string]service{
		"storefront": storefront, "catalogue": catalogue, "orders": orders, "payments": payments, "meter": meter,
		"archive": archive, "customer": customer, "blink": blink,
		"pause": func(ctx context.Context, _ *stall) error { <-ctx.Done(); return nil },
	}
}

func run(ctx context.Context, args []string) error {
	all := services()
	if len(args) == 0 || all[args[0]] == nil {
		names := make([]string, 0, len(all))
		for name := range all {
			names = append(names, name)
		}
		sort.Strings(names)
		return fmt.Errorf("%w: say which of these to be: %s", errUsage, strings.Join(names, ", "))
	}
	s := &stall{name: args[0], journal: newJournal(os.Stdout)}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.StringVar(&s.listen, "listen", ":8080", "address to listen at")
	flags.StringVar(&s.root, "root", "/", "folder below which the paths that it writes to are")
	flags.DurationVar(&s.stay, "stay", 0, "how long a blink stays before it writes")
	flags.IntVar(&s.times, "n", 10, "how many purchases a customer makes, and papers there are for the archive")
	s.others = map[string]*string{}
	for _, other := range []string{"storefront", "catalogue", "orders", "payments", "meter"} {
		s.others[other] = flags.String(other, addressOf(other), "address of "+other)
	}
	if err := flags.Parse(args[1:]); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	return all[args[0]](ctx, s)
}

// addressOf is what Kubernetes tells every container of the services of its namespace.
func addressOf(service string) string {
	prefix := strings.ToUpper(service) + "_SERVICE_"
	host, port := os.Getenv(prefix+"HOST"), os.Getenv(prefix+"PORT")
	if host == "" {
		return ""
	}
	return host + ":" + port
}
