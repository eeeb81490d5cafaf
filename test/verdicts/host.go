// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	// hostRoot is apart from root, so that a host can be watched while programs are judged.
	hostRoot = "/var/lib/spoor-quiet-host"
	// hostNetwork is a network namespace in which services have the ports that they always have.
	hostNetwork = "spoor-quiet-host"
	// hostUnits select the units of the host's services.
	hostUnits = "verdict-host-*"
)

// service is a service of the distribution as it is installed: nothing of its configuration is changed.
type service struct {
	name string
	argv []string
	// Folders that its service unit makes before it starts, and who owns them.
	folders []string
	user    string
	// What somebody who uses it does now and then.
	visit []string
}

func services() []service {
	const (
		socket = "/run/postgresql"
		query  = "CREATE TABLE IF NOT EXISTS visits (at timestamptz); INSERT INTO visits VALUES (now()); SELECT count(*) FROM visits"
	)
	return []service{
		{name: "nginx", argv: []string{"nginx", "-g", "daemon off;"}, visit: []string{"curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1/"}},
		{
			name: "redis", argv: as("redis", "redis-server", "/etc/redis/redis.conf", "--supervised", "no", "--daemonize", "no"),
			folders: []string{"/run/redis"}, user: "redis", visit: []string{"redis-cli", "INCR", "visits"},
		},
		{
			name: "postgresql", argv: as("postgres", pg+"postgres", "-D", "/var/lib/postgresql/15/main", "-c", "config_file=/etc/postgresql/15/main/postgresql.conf"),
			folders: []string{socket}, user: "postgres", visit: as("postgres", "psql", "-q", "-o", "/dev/null", "-h", socket, "-c", query),
		},
		{name: "memcached", argv: []string{"memcached", "-u", "memcache", "-l", "127.0.0.1"}, visit: []string{"bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/11211; printf 'set visits 0 0 2\r\nhi\r\nquit\r\n' >&3; cat <&3 >/dev/null`}},
		{name: "cron", argv: []string{"cron", "-f"}},
		{
			name: "sshd", argv: []string{"/usr/sbin/sshd", "-D", "-o", "AuthorizedKeysFile=" + hostRoot + "/key.pub", "-o", "StrictModes=no"}, folders: []string{"/run/sshd"}, user: "root",
			visit: []string{"ssh", "-q", "-i", hostRoot + "/key", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "127.0.0.1", "uptime"},
		},
		{name: "rsyslog", argv: []string{"rsyslogd", "-n", "-i", "/run/verdict-host-rsyslogd.pid"}, visit: []string{"logger", "somebody visited"}},
	}
}

func (s *service) unit() string { return "verdict-host-" + s.name + ".service" }

// host is one whose services run.
type host struct {
	services []service
	lives    map[string]*life
	log      *os.File
}

// there runs a command in the host's network namespace.
func there(argv ...string) []string {
	return append([]string{"nsenter", "--net=/run/netns/" + hostNetwork, "--"}, argv...)
}

func execute(ctx context.Context, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = hostEnv()
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func hostEnv() []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}
}

// settle makes the place where the services live, and starts them.
func settle(ctx context.Context) (_ *host, err error) {
	h := &host{services: services(), lives: map[string]*life{}}
	if err := errors.Join(os.RemoveAll(hostRoot), os.MkdirAll(hostRoot, 0o755)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.leave(ctx))
		}
	}()
	if h.log, err = os.Create(filepath.Join(hostRoot, "services.out")); err != nil {
		return nil, err
	}
	for _, argv := range [][]string{
		{"ip", "netns", "add", hostNetwork},
		{"ip", "-n", hostNetwork, "link", "set", "lo", "up"},
		{"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", hostRoot + "/key"},
	} {
		if err := execute(ctx, argv...); err != nil {
			return nil, err
		}
	}
	for i := range h.services {
		if err := h.start(&h.services[i]); err != nil {
			return nil, err
		}
	}
	for i := range h.services {
		s := &h.services[i]
		var problem error
		err := until(ctx, s.name+" answers", func() bool {
			problem = h.visit(ctx, s)
			return problem == nil
		})
		if err != nil {
			return nil, fmt.Errorf("%w: %w (its output: %s)", err, problem, h.log.Name())
		}
	}
	return h, nil
}

func (h *host) start(s *service) error {
	for _, dir := range s.folders {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := execute(context.Background(), "chown", s.user+":", dir); err != nil {
			return err
		}
	}
	l, err := begin(s.unit(), there(s.argv...), hostEnv(), "/", struct{ io.Writer }{h.log})
	if err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	h.lives[s.name] = l
	return nil
}

func (h *host) visit(ctx context.Context, s *service) error {
	if len(s.visit) == 0 {
		return nil
	}
	return execute(ctx, there(s.visit...)...)
}

// live visits every service now and then, and restarts each once, the first half way.
func (h *host) live(ctx context.Context, length time.Duration) error {
	const pause = 5 * time.Second
	begun, restarted := time.Now(), 0
	for n := 0; time.Since(begun) < length; n++ {
		if err := rest(ctx, pause); err != nil {
			return err
		}
		if restarted < len(h.services) && time.Since(begun) > length/2 {
			s := &h.services[restarted]
			if err := h.lives[s.name].end(ctx); err != nil {
				return err
			}
			if err := errors.Join(rest(ctx, restartAfter), h.start(s)); err != nil {
				return err
			}
			restarted++
			continue
		}
		s := &h.services[n%len(h.services)]
		var problem error
		if err := until(ctx, s.name+" answers", func() bool {
			problem = h.visit(ctx, s)
			return problem == nil
		}); err != nil {
			return fmt.Errorf("%w: %w", err, problem)
		}
	}
	return nil
}

// leave ends the services and removes what settle made.
func (h *host) leave(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	var errs []error
	for _, l := range h.lives {
		errs = append(errs, l.end(ctx))
	}
	if h.log != nil {
		errs = append(errs, h.log.Close())
	}
	return errors.Join(append(errs, execute(ctx, "ip", "netns", "delete", hostNetwork))...)
}
