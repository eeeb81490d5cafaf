// SPDX-License-Identifier: Apache-2.0

// Command store is a web service that counts in a file that it has mapped: no write call ever changes it.
package main

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const pages = 16 * 4096

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: store FILE ADDRESS")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "store:", err)
		os.Exit(3)
	}
}

func run(file, address string) error {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := f.Truncate(pages); err != nil {
		return err
	}
	// As such stores do: the header says whether the rest can be trusted.
	if _, err := f.ReadAt(make([]byte, 4096), 0); err != nil {
		return err
	}
	store, err := unix.Mmap(int(f.Fd()), 0, pages, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %s: %w", file, err)
	}
	var mu sync.Mutex
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		n := binary.LittleEndian.Uint64(store) + 1
		binary.LittleEndian.PutUint64(store, n)
		if err := unix.Msync(store, unix.MS_SYNC); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprintln(w, n)
	})
	server := http.Server{Addr: address, ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServe()
}
