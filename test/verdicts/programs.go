// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	_ "embed"
	"strconv"
)

//go:embed programs/web.py
var webScript string

//go:embed programs/job.py
var jobScript string

//go:embed programs/flask_app.py
var flaskScript string

//go:embed programs/uploads.js
var uploadsScript string

//go:embed programs/app.php
var phpScript string

const (
	stateless = "  listens: [{port: 1-65535}, {port: 1-65535, transport: udp}]"
	page      = "<p>hello</p>\n"

	nginxConfig = `daemon off; user root; pid @dir@/nginx.pid; worker_processes 1; error_log stderr;
events {}
http {
  client_body_temp_path /tmp/spoor-verdict-body; proxy_temp_path /tmp/spoor-verdict-proxy; fastcgi_temp_path /tmp/spoor-verdict-f; uwsgi_temp_path /tmp/spoor-verdict-u; scgi_temp_path /tmp/spoor-verdict-s;
  `
	apacheConfig = `ServerRoot @dir@
ServerName localhost
Listen 127.0.0.1:@port@
PidFile @dir@/httpd.pid
Mutex file:@dir@
DefaultRuntimeDir @dir@
DocumentRoot @dir@/www
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LogFormat "%h %r %>s" short
`
	fpmConfig = `[global]
error_log = /proc/self/fd/2
daemonize = no
[www]
listen = 127.0.0.1:@port@
user = www-data
group = www-data
pm = static
pm.max_children = 2
clear_env = no
php_admin_flag[display_errors] = on
`
)

func nginx(name, config string, l load) program {
	return program{
		name: name, argv: []string{"nginx", "-c", "@dir@/nginx.conf", "-p", "@dir@", "-e", "stderr"}, load: l, contract: stateless,
		files: map[string]string{"nginx.conf": nginxConfig + config + "\n}\n", "www/index.html": page, "log/.keep": ""},
	}
}

func apache(name, logs string) program {
	return program{
		name: name, argv: []string{"apache2", "-f", "@dir@/httpd.conf", "-DFOREGROUND"}, load: browse, contract: stateless,
		files: map[string]string{"httpd.conf": apacheConfig + logs, "www/index.html": page, "logs/.keep": ""},
	}
}

func redis(name string, args ...string) program {
	return program{
		name: name, load: say("tcp", "INCR visits\r\n"), contract: stateless,
		argv: append([]string{"redis-server", "--port", "@port@", "--bind", "127.0.0.1", "--dir", "@dir@"}, args...),
	}
}

func php(name, mode string) program {
	return program{
		name: name, argv: []string{"php-fpm8.2", "-n", "-d", "extension=pdo", "-d", "extension=pdo_sqlite", "-y", "@dir@/fpm.conf", "-F"}, load: script, contract: stateless,
		env:   []string{"VERDICT_MODE=" + mode, "VERDICT_DIR=@dir@"},
		files: map[string]string{"fpm.conf": fpmConfig, "app.php": phpScript, "sessions/.keep": ""},
		setup: owned("www-data"),
	}
}

func web(name string) program {
	return program{
		name: name, argv: []string{"/usr/bin/python3", "@dir@/web.py", name, "@dir@", "@port@"}, load: browse, contract: stateless,
		files: map[string]string{"web.py": webScript},
	}
}

// breaks is a web service that keeps nothing, with other lines in its contract.
func breaks(name, contract string) program {
	p := web(name)
	p.contract = contract
	return p
}

func job(name, mode string, args ...string) program {
	return program{
		name: name, argv: append([]string{"/usr/bin/python3", "@dir@/job.py", mode}, args...), silent: true, contract: stateless,
		files: map[string]string{"job.py": jobScript},
	}
}

func (p program) with(contract string) program {
	p.contract = contract
	return p
}

func (p program) always() program {
	p.lasting = true
	return p
}

// helps makes it one of those that have no contract and no answer.
func (p program) helps() program {
	p.contract, p.helper, p.lasting = "", true, true
	return p
}

// owned gives the program's folder to a user.
func owned(name string) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error { return s.command(ctx, "chown", "-R", name, "@dir@") }
}

// as runs a command as another user, whose group has the same name, with the other groups that this one is in.
func as(name string, argv ...string) []string {
	return append([]string{"setpriv", "--reuid", name, "--regid", name, "--init-groups"}, argv...)
}

// push commits to a repository and sends that to its server.
const push = `d=$(mktemp -d) && git clone -q git://127.0.0.1:@port@/shop.git "$d" 2>/dev/null && cd "$d" && date +%N >visit && git add visit &&
git -c user.name=ann -c user.email=ann@example.com commit -qm visit && git push -q origin HEAD:refs/heads/main; e=$?; rm -rf "$d"; exit $e`

const pg = "/usr/lib/postgresql/15/bin/"

func programs() []program {
	all := []program{
		nginx("nginx-static", `access_log /dev/stdout; server { listen 127.0.0.1:@port@; root @dir@/www; }`, browse),
		nginx("nginx-file-logs", `access_log @dir@/log/access.log; server { listen 127.0.0.1:@port@; root @dir@/www; }`, browse),
		nginx("nginx-proxy", `access_log off; server { listen 127.0.0.1:@port@; client_body_buffer_size 8k; location / { proxy_pass http://@up@; } }`, post),
		nginx("nginx-cache", `access_log off; proxy_cache_path @dir@/cache keys_zone=one:1m use_temp_path=off;
  server { listen 127.0.0.1:@port@; location / { proxy_pass http://@up@; proxy_cache one; proxy_cache_valid any 10m; proxy_cache_key $uri$arg_n; } }`, browse),
		{
			name: "haproxy", argv: []string{"haproxy", "-db", "-f", "@dir@/haproxy.cfg"}, load: browse, contract: stateless,
			files: map[string]string{"haproxy.cfg": "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\nlisten web\n  bind 127.0.0.1:@port@\n  server one @up@\n"},
		},
		{
			name: "lighttpd", argv: []string{"lighttpd", "-D", "-f", "@dir@/lighttpd.conf"}, load: browse, contract: stateless,
			files: map[string]string{"lighttpd.conf": "server.document-root = \"@dir@/www\"\nserver.bind = \"127.0.0.1\"\nserver.port = @port@\nserver.pid-file = \"@dir@/lighttpd.pid\"\nindex-file.names = (\"index.html\")\n", "www/index.html": page},
		},
		apache("apache", "ErrorLog /dev/stderr\nCustomLog /dev/stdout short\n"),
		apache("apache-file-logs", "ErrorLog @dir@/logs/error.log\nCustomLog @dir@/logs/access.log short\n"),
		{
			name: "tinyproxy", argv: []string{"tinyproxy", "-d", "-c", "@dir@/tinyproxy.conf"}, load: throughProxy, contract: stateless,
			files: map[string]string{"tinyproxy.conf": "Port @port@\nListen 127.0.0.1\nTimeout 10\nPidFile \"@dir@/tinyproxy.pid\"\nAllow 127.0.0.1\n"},
		},
		{
			name: "dnsmasq", load: resolve, contract: stateless,
			argv: []string{"dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--listen-address=127.0.0.1", "--bind-interfaces", "--port=@port@", "--address=/shop.example/192.0.2.1", "--pid-file=@dir@/dnsmasq.pid", "--user=root"},
		},
		{name: "memcached", argv: []string{"memcached", "-u", "nobody", "-l", "127.0.0.1", "-p", "@port@"}, load: say("tcp", "set visits 0 0 5\r\nhello\r\n"), contract: stateless},
		redis("redis-memory", "--save", "", "--appendonly", "no"),
		redis("redis-aof", "--save", "", "--appendonly", "yes"),
		redis("redis-rdb", "--save", "3600 1"),
		{
			name: "postgresql", contract: stateless, argv: as("postgres", pg+"postgres", "-D", "@dir@/data", "-k", "@dir@", "-p", "@port@", "-c", "checkpoint_timeout=30s"),
			setup: func(ctx context.Context, s *stage) error {
				if err := owned("postgres")(ctx, s); err != nil {
					return err
				}
				return s.command(ctx, as("postgres", pg+"initdb", "-D", "@dir@/data", "-A", "trust", "-U", "postgres")...)
			},
			load: onceUp(command("psql", "-qh", "127.0.0.1", "-p", "@port@", "-U", "postgres", "-c", "CREATE TABLE IF NOT EXISTS visits (at timestamptz); INSERT INTO visits SELECT now() FROM generate_series(1, 1000); SELECT count(*) FROM visits; CHECKPOINT")),
		},
		{
			name: "mariadb", contract: stateless,
			argv: []string{"mariadbd", "--no-defaults", "--user=mysql", "--datadir=@dir@/data", "--socket=@dir@/my.sock", "--pid-file=@dir@/my.pid", "--bind-address=127.0.0.1", "--port=@port@"},
			setup: func(ctx context.Context, s *stage) error {
				if err := owned("mysql")(ctx, s); err != nil {
					return err
				}
				return s.command(ctx, "mariadb-install-db", "--no-defaults", "--user=mysql", "--datadir=@dir@/data", "--auth-root-authentication-method=normal", "--skip-test-db")
			},
			load: command("mariadb", "--no-defaults", "-h127.0.0.1", "-P@port@", "-uroot", "-e", "CREATE DATABASE IF NOT EXISTS shop; CREATE TABLE IF NOT EXISTS shop.visits (at TIMESTAMP) ENGINE=InnoDB; INSERT INTO shop.visits VALUES (NOW()); SELECT COUNT(*) FROM shop.visits"),
		},
		{
			name: "etcd", contract: stateless,
			argv: []string{"etcd", "--data-dir", "@dir@/data", "--listen-client-urls", "http://127.0.0.1:@port@", "--advertise-client-urls", "http://127.0.0.1:@port@", "--listen-peer-urls", "http://127.0.0.1:0", "--initial-advertise-peer-urls", "http://127.0.0.1:2380", "--initial-cluster", "default=http://127.0.0.1:2380"},
			load: func(ctx context.Context, s *stage, _ int) error {
				return fetch(ctx, "POST", "http://127.0.0.1:"+strconv.Itoa(s.port)+"/v3/kv/put", []byte(`{"key": "dmlzaXRz", "value": "MQ=="}`))
			},
		},
		{name: "beanstalkd-memory", argv: []string{"beanstalkd", "-l", "127.0.0.1", "-p", "@port@"}, load: say("tcp", "put 0 0 60 5\r\nhello\r\n"), contract: stateless},
		{name: "beanstalkd-binlog", argv: []string{"beanstalkd", "-l", "127.0.0.1", "-p", "@port@", "-b", "@dir@", "-f", "0"}, load: say("tcp", "put 0 0 60 5\r\nhello\r\n"), contract: stateless},
		broker("mosquitto-memory", "persistence false\n"),                                 //nolint:misspell // its name
		broker("mosquitto-persistent", "persistence true\npersistence_location @dir@/\n"), //nolint:misspell // its name
		php("php-sessions", "sessions"),
		php("php-stateless", "none"),
		php("php-sqlite", "sqlite"),
		{
			name: "flask-cookie", argv: []string{"/usr/bin/python3", "-m", "flask", "--app", "flask_app", "run", "--port", "@port@"}, load: browse, contract: stateless,
			files: map[string]string{"flask_app.py": flaskScript},
		},
		{
			name: "gunicorn", argv: []string{"gunicorn", "-b", "127.0.0.1:@port@", "-w", "2", "--pid", "@dir@/gunicorn.pid", "flask_app:app"}, load: browse, contract: stateless,
			files: map[string]string{"flask_app.py": flaskScript},
		},
		// The JVM's counters lie in /tmp as long as it lives.
		{name: "java", argv: []string{"rmiregistry", "-J-Xmx64m", "@port@"}, contract: stateless, lasting: true},
		{
			name: "prometheus", contract: stateless, load: browse,
			argv:  []string{"prometheus", "--config.file=@dir@/prometheus.yml", "--storage.tsdb.path=@dir@/data", "--web.listen-address=127.0.0.1:@port@"},
			files: map[string]string{"prometheus.yml": "scrape_configs: [{job_name: itself, scrape_interval: 1s, static_configs: [{targets: ['127.0.0.1:@port@']}]}]\n"},
		},
		pushgateway("pushgateway-memory", "--persistence.file="), pushgateway("pushgateway-file", "--persistence.file=@dir@/metrics", "--persistence.interval=2s"),
		nats("nats-memory"), nats("nats-jetstream", "-js", "-sd", "@dir@/data"),
		{
			name: "varnish", load: browse, contract: stateless,
			argv: []string{"varnishd", "-F", "-a", "127.0.0.1:@port@", "-b", "@up@", "-n", "@dir@/work", "-s", "malloc,16m"},
		},
		{
			name: "git", contract: stateless, load: onceUp(command("sh", "-c", push)),
			argv: []string{"git", "daemon", "--reuseaddr", "--listen=127.0.0.1", "--port=@port@", "--base-path=@dir@", "--export-all", "--enable=receive-pack"},
			setup: func(ctx context.Context, s *stage) error {
				return s.command(ctx, "git", "init", "-q", "--bare", "-b", "main", "@dir@/shop.git")
			},
		},
		{
			name: "logrotate", contract: stateless, silent: true, argv: []string{"logrotate", "-f", "-s", "@dir@/status", "@dir@/logrotate.conf"},
			files: map[string]string{"logrotate.conf": "@dir@/log/app.log {\n  rotate 3\n  create\n}\n", "log/app.log": "hello\n"},
		},
		web("sqlite-web"), web("sqlite-wal"), web("counter-file"), web("counter-atomic"), web("counter-backdated"), web("counter-unnamed"),
		web("counter-folder"), web("counter-at-stop"), web("own-config"), web("log-to-file"),
		{
			name: "rsyslog", argv: []string{"rsyslogd", "-n", "-f", "@dir@/rsyslog.conf", "-i", "@dir@/rsyslogd.pid"}, load: say("udp", "<13>Nov 22 09:00:00 host app: visit %d"), contract: stateless,
			files: map[string]string{"rsyslog.conf": "module(load=\"imudp\")\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"@port@\")\n*.* @dir@/log/messages\n", "log/.keep": ""},
		},
		node("node-uploads", "uploads", upload),
		node("node-stateless", "stateless", browse),
		job("job-tidy", "tidy", "@dir@"), job("job-untidy", "untidy", "@dir@"), job("job-elsewhere-tidy", "elsewhere-tidy", "@dir@"),
		{name: "go-mapped", argv: []string{"@store@", "@dir@/visits.db", "127.0.0.1:@port@"}, load: browse, contract: stateless},

		{name: "vim", argv: []string{"vim", "-es", "-c", "normal ihello", "-c", "wq", "@dir@/notes.txt"}, silent: true},
		{name: "apt", argv: []string{"apt-cache", "-o", "Dir::Cache=@dir@/cache", "gencaches"}, silent: true, files: map[string]string{"cache/.keep": ""}},
		{
			name: "dpkg", argv: []string{"sh", "-c", "dpkg-deb --build --root-owner-group @dir@/tree @dir@/demo.deb && dpkg-deb -x @dir@/demo.deb @dir@/unpacked"}, silent: true,
			files: map[string]string{"tree/DEBIAN/control": "Package: demo\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\nDescription: demo\n", "tree/usr/share/demo/file": "hello\n"},
		},
		job("calls-out", "call", "@dir@", "@port:target@").with("  calls: []"),
		breaks("called", "  callers: []"), breaks("listens", "  listens: []"),
		job("scans", "scan", "@dir@", "64400"), job("drifts", "drift", "@dir@"),

		web("target").helps(),
		job("shares-memory", "share-memory", "@dir@").always(), job("memory-other", "share-memory", "@dir@").helps(),
		job("socket-server", "serve-socket", sockets).helps(), job("shares-socket", "hold-socket", sockets).always(),
		job("journal", "serve-socket", journal).helps(), job("uses-journal", "hold-socket", journal).always(),
		apart(job("shares-file", "write-shared", common)).always(), apart(job("file-other", "write-shared", common)).helps(),
		apart(job("reads-file", "read-shared", common)).always(), apart(job("file-author", "write-report", common)).helps(),
		redis("store", "--save", "").helps(),
		job("shares-database", "ask-store", "@dir@", "@port:store@").always().with("  calls: [{cidr: 127.0.0.1/32, port: @port:store@, purpose: backing-service}]"),
		job("store-other", "ask-store", "@dir@", "@port:store@").helps(),
		breaks("hub", stateless).always(),
	}
	for _, caller := range []string{"a", "b", "c", "d", "e", "f"} {
		all = append(all, job("caller-"+caller, "call", "@dir@", "@port:hub@").helps())
	}
	return all
}

// sockets and journal are folders of Unix sockets: one of two units, one where the node's own services have theirs. common is a folder of
// files that two units have.
const (
	common  = root + "/common"
	sockets = "/run/spoor-verdicts"
	journal = "/run/systemd/spoor-verdicts"
)

func broker(name, config string) program {
	return program{
		name: name, argv: []string{"mosquitto", "-c", "@dir@/broker.conf"}, load: publish, contract: stateless, //nolint:misspell // its name
		files: map[string]string{"broker.conf": "listener @port@ 127.0.0.1\nallow_anonymous true\nuser root\n" + config},
	}
}

func pushgateway(name string, args ...string) program {
	return program{
		name: name, contract: stateless, argv: append([]string{"prometheus-pushgateway", "--web.listen-address=127.0.0.1:@port@"}, args...),
		load: func(ctx context.Context, s *stage, n int) error {
			return fetch(ctx, "POST", "http://127.0.0.1:"+strconv.Itoa(s.port)+"/metrics/job/visits", []byte("visits "+strconv.Itoa(n)+"\n"))
		},
	}
}

func nats(name string, args ...string) program {
	return program{name: name, argv: append([]string{"nats-server", "-a", "127.0.0.1", "-p", "@port@"}, args...), load: stream, contract: stateless}
}

func node(name, mode string, l load) program {
	return program{
		name: name, argv: []string{"node", "@dir@/uploads.js", mode, "@dir@", "@port@"}, load: l, contract: stateless,
		files: map[string]string{"uploads.js": uploadsScript},
	}
}
