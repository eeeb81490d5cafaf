// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"strings"
	"testing"
	"time"
)

func TestClassifyByName(t *testing.T) {
	for name, want := range map[string]Class{
		"/app/cart.json": ClassData, "/app/data.db": ClassDatabase, "/app/data.db-wal": ClassDatabase, "/app/x-journal": ClassDatabase,
		"/app/store.sqlite3": ClassDatabase, "/data/dump.rdb": ClassDatabase, "/data/appendonly.aof": ClassDatabase, "/data/appendonly.aof.1": ClassDatabase,
		"/db/MANIFEST-000004": ClassDatabase, "/db/000012.sst": ClassDatabase, "/var/lib/php/sessions/sess_abc": ClassSession, "/srv/uploads/cat.jpg": ClassUpload,
		"/var/log/app.log": ClassLog, "/var/log/app.log.1": ClassLog, "/var/log/syslog": ClassLog, "/run/app.pid": ClassLock, "/var/cache/x": ClassCache,
		"/app/__pycache__/m.cpython-312.pyc": ClassCache, "/root/.bash_history": ClassLog, "/app/catalog": ClassData, "/app/heap.hprof": ClassData, "/": ClassData, "": ClassData,
		"/app/dialog": ClassData, "-wal": ClassDatabase, "/-wal": ClassData,
	} {
		if got := classify(name, behaviour{}); got.class != want {
			t.Errorf("%s is taken for a %s, not a %s", name, got.class, want)
		}
	}
}

func TestStateDatabase(t *testing.T) {
	for _, tc := range []struct {
		name string
		play func(s *scene)
	}{
		{"by its name", func(s *scene) {
			s.sees(write(inode("/app/cart.db", 7, layer)), "high state.database /app/cart.db")
			v := s.last[0]
			if want := "Deployment shop/checkout keeps a database, /app/cart.db in the container's writable layer, outside its scratch and volumes"; v.Title != want {
				s.t.Errorf("title %q", v.Title)
			}
			if want := "It is taken for a database because its name ends with .db."; !strings.HasSuffix(v.Why, want) {
				s.t.Errorf("why %q", v.Why)
			}
			if want := "- {path: /app, class: database}"; !strings.HasSuffix(v.Fix, want) {
				s.t.Errorf("fix %q", v.Fix)
			}
			s.sees(write(inode("/app/cart.db-wal", 8, layer))) // the same matter
			s.sees(unlink(inode("/app/cart.db-wal", 8, layer)))
			s.tick(time.Hour)
			s.sees(unlink(inode("/app/cart.db", 7, layer)))
			s.tick(time.Minute, "cleared state.database /app/cart.db")
		}},
		{"by its journal, which comes after it", func(s *scene) {
			s.sees(write(inode("/app/cart", 7, layer)), "medium state.local /app/cart")
			s.sees(write(inode("/app/cart-journal", 8, layer)), "high state.database /app/cart")
			s.sees(write(inode("/app/cart", 7, layer)))
			s.sees(unlink(inode("/app/cart-journal", 8, layer)))
			s.tick(time.Minute, "cleared state.local /app/cart")
			s.sees(unlink(inode("/app/cart", 7, layer)))
			s.tick(time.Minute, "cleared state.database /app/cart")
		}},
		{"by its journal, which comes before it", func(s *scene) {
			s.sees(write(inode("/app/cart-journal", 8, layer)), "high state.database /app/cart")
			s.sees(write(inode("/app/cart", 7, layer)))
			if want := "a journal or write-ahead log lies beside it"; !strings.Contains(s.judge.files[idOf("node1", inode("", 7, layer))].kind.reasons[0], want) {
				s.t.Error("the journal is no reason")
			}
		}},
		{"by pages that are overwritten in place", func(s *scene) {
			f := inode("/app/cart.bin", 7, layer)
			s.sees(writeSize(f, 64<<10), "medium state.local /app/cart.bin")
			for range minOverwrites - 1 {
				s.sees(writeSize(f, 64<<10))
			}
			s.sees(writeSize(f, 64<<10), "high state.database /app/cart.bin")
			s.tick(time.Minute, "cleared state.local /app/cart.bin")
		}},
		{"not by small files that are rewritten", func(s *scene) {
			s.sees(writeSize(inode("/app/counter", 7, layer), 12), "medium state.local /app/counter")
			for range 20 {
				s.sees(writeSize(inode("/app/counter", 7, layer), 12))
			}
		}},
		{"by its name after a rename", func(s *scene) {
			s.sees(write(inode("/tmp/new", 7, layer)))
			s.sees(rename(inode("/tmp/new", 7, layer), "/app/store.sqlite3"), "high state.database /app/store.sqlite3")
		}},
		{"in a volume that says so", func(s *scene) {
			s.sees(write(inode("/var/cache/tpl/index.db", 7, layer)))
		}},
		{"in scratch it is scratch", func(s *scene) {
			s.sees(write(inode("/tmp/sort.db", 7, layer)))
			s.tick(10*time.Minute, "medium state.local /tmp/sort.db")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.play(newScene(t, checkoutContract)) })
	}
}

func TestStateSessionAndLog(t *testing.T) {
	s := newScene(t, checkoutContract)
	s.sees(write(inode("/var/lib/php/sessions/sess_1234abcd", 7, layer)), "medium state.session /var/lib/php/sessions/sess_*")
	if want := "Deployment shop/checkout keeps sessions as files, /var/lib/php/sessions/sess_* in the container's writable layer, outside its scratch and volumes"; s.last[0].Title != want {
		t.Errorf("title %q", s.last[0].Title)
	}
	if want := "Set session.save_handler to a shared store."; !strings.HasPrefix(s.last[0].Fix, want) {
		t.Errorf("fix %q", s.last[0].Fix)
	}
	s.sees(write(inode("/srv/uploads/a.jpg", 8, layer)), "medium state.session /srv/uploads/*")
	s.sees(write(inode("/var/log/app/access.log", 9, layer)), "low state.log /var/log/app/access.log")
	if want := "Deployment shop/checkout writes a log to /var/log/app/access.log in the container's writable layer, outside its scratch and volumes"; s.last[0].Title != want {
		t.Errorf("title %q", s.last[0].Title)
	}
	if want := "- {path: /var/log/app, class: log}"; !strings.HasSuffix(s.last[0].Fix, want) {
		t.Errorf("fix %q", s.last[0].Fix)
	}
}

func FuzzClassify(f *testing.F) {
	f.Add("/app/cart.db-wal", 5, true)
	f.Fuzz(func(t *testing.T, name string, overwrites int, journal bool) {
		k := classify(name, behaviour{overwrites: overwrites, journal: journal})
		if err := new(Class).UnmarshalText([]byte(k.class)); err != nil {
			t.Fatal(err)
		}
		if (k.class == ClassData) != (k.reasons == nil) {
			t.Fatalf("%q is %s because %q", name, k.class, k.reasons)
		}
		if journal && k.class != ClassDatabase {
			t.Fatalf("%q has a journal and is %s", name, k.class)
		}
	})
}

// All that a database server keeps is one finding.
func TestDataDirectories(t *testing.T) {
	s := newSceneWithLimits(t, DefaultLimits(), checkoutContract)
	s.sees(create(inode("/somewhere/else", 1<<40, layer)))
	for i, name := range []string{"/srv/pg/base/5/2619", "/srv/pg/global/1262", "/srv/pg/pg_wal/000000010000000000000001", "/srv/pg/postmaster.opts", "/srv/pgx"} {
		s.sees(write(inode(name, uint64(i)+20, layer)))
	}
	s.tick(time.Minute, "high state.database /srv/pg/**", "medium state.local /srv/pgx")
	s.sees(reading(inode("/srv/pg/base/5/2619", 20, layer), checkout, "i0"), "high state.survives /srv/pg/**")
}

// Of some servers few names give the directory away.
func TestDataDirectoriesOfServers(t *testing.T) {
	for _, names := range [][]string{
		{"/data/wal/00000000", "/data/queries.active"},
		{"/data/wal/00000001", "/data/chunks_head/000001"},
		{"/data/$G.tmp", "/data/jetstream/$G/streams/VISITS/msgs/1.blk", "/data/jetstream/$G/streams/VISITS/meta.inf"},
	} {
		s := newSceneWithLimits(t, DefaultLimits(), checkoutContract)
		s.sees(create(inode("/somewhere/else", 1<<40, layer)))
		for i, name := range names {
			s.sees(write(inode(name, uint64(i)+20, layer)))
		}
		s.tick(time.Minute, "high state.database /data/**")
	}
}
