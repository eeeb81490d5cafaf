// SPDX-License-Identifier: Apache-2.0

package notify_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/spoor/spoor/collector/notify"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// manager is a real Alertmanager that pages a pager.
type manager struct {
	*testing.T
	binary, dir, address string
}

// newManager chooses an address and writes a configuration; nothing runs yet. Every alert is a group of its own, so
// that the pager hears each of them.
func newManager(t *testing.T, pagerURL string) *manager {
	t.Helper()
	binary, err := exec.LookPath("prometheus-alertmanager")
	if err != nil {
		t.Fatalf("this test speaks to the real Alertmanager: install Debian's package prometheus-alertmanager (%v)", err)
	}
	m := &manager{T: t, binary: binary, dir: t.TempDir(), address: freeAddress(t)}
	config := fmt.Sprintf(`route: {receiver: pager, group_by: ['...'], group_wait: 10ms, group_interval: 100ms, repeat_interval: 1h}
receivers:
  - name: pager
    webhook_configs: [{url: '%s', send_resolved: true}]
`, pagerURL)
	if err := os.WriteFile(filepath.Join(m.dir, "config.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// command runs it with its templates in place, which Debian's looks for below /usr/share. Where the package is unpacked and not installed,
// it gets a /usr/share of its own, in a mount namespace.
func (m *manager) command(args ...string) *exec.Cmd {
	m.Helper()
	const templates = "/usr/share/prometheus/alertmanager"
	unpacked := filepath.Join(filepath.Dir(m.binary), "..", "share", "prometheus", "alertmanager")
	_, missing := os.Stat(templates)
	if _, err := os.Stat(unpacked); missing == nil || err != nil {
		return exec.Command(m.binary, args...)
	}
	own := `mount -t tmpfs none /usr/share && mkdir -p "$1" && cp "$2"/*.tmpl "$1" && shift 2 && exec "$@"`
	return exec.Command("unshare", append([]string{"--map-root-user", "--mount", "sh", "-c", own, "sh", templates, unpacked, m.binary}, args...)...)
}

// start returns when it is ready; stop ends it.
func (m *manager) start() (stop func()) {
	m.Helper()
	cmd := m.command("--config.file="+filepath.Join(m.dir, "config.yml"), "--storage.path="+filepath.Join(m.dir, "data"),
		"--web.listen-address="+m.address, "--cluster.listen-address=")
	cmd.Stdout, cmd.Stderr = m.Output(), m.Output()
	if err := cmd.Start(); err != nil {
		m.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait() // it was ended
	})
	m.Cleanup(stop)
	eventually(m.T, "Alertmanager is ready", func() bool {
		response, err := http.Get("http://" + m.address + "/-/ready")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return stop
}

// alerts returns the labels of those that fire, by fingerprint.
func (m *manager) alerts() map[string]map[string]string {
	m.Helper()
	response, err := http.Get("http://" + m.address + "/api/v2/alerts")
	if err != nil {
		m.Fatal(err)
	}
	defer response.Body.Close()
	var list []struct{ Labels map[string]string }
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		m.Fatal(err)
	}
	all := map[string]map[string]string{}
	for _, a := range list {
		if all[a.Labels["fingerprint"]] != nil {
			m.Errorf("two alerts of finding %s", a.Labels["fingerprint"])
		}
		all[a.Labels["fingerprint"]] = a.Labels
	}
	return all
}

// pager writes down what it is paged about, by fingerprint: "firing" or "resolved" each time.
type pager struct {
	*httptest.Server
	mu    sync.Mutex
	pages map[string][]string
}

func newPager(t *testing.T) *pager {
	t.Helper()
	p := &pager{pages: map[string][]string{}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var page struct {
			Alerts []struct {
				Status string
				Labels map[string]string
			}
		}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &page)
		}
		if err != nil {
			t.Errorf("a page that cannot be read: %v", err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, a := range page.Alerts {
			p.pages[a.Labels["fingerprint"]] = append(p.pages[a.Labels["fingerprint"]], a.Status)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *pager) of(fingerprint string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprint(p.pages[fingerprint])
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

var overOnce = regexp.MustCompile(`^\[firing (firing )?resolved\]$`)

// An Alertmanager that is down at first, a notifier that is killed in between, an Alertmanager that forgets: somebody
// is paged once about each finding, and told once that it is over.
func TestRealAlertmanager(t *testing.T) {
	pager := newPager(t)
	manager := newManager(t, pager.URL)
	receiver, err := notify.NewAlertmanager(notify.AlertmanagerOptions{URL: "http://" + manager.address, WebURL: "http://127.0.0.1:7070"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(receiver.Close)
	// An alert ends by itself when it was not told for four times Resend, which must be longer than a busy machine lets anybody wait.
	quick := func(o *notify.Options) {
		o.Resend, o.MinBackoff, o.MaxBackoff = 2*time.Second, 20*time.Millisecond, 200*time.Millisecond
	}
	d := openDesk(t, receiver)
	d.run(quick)
	one, two := finding("aa", isOpen), finding("bb", isOpen)
	two.Subject = "/tmp/\x1b[31m\u202e 日本語" // names are chosen by whoever is watched
	d.put(one, two)
	eventually(t, "the attempts fail while nobody is there", func() bool { return d.metric("failing", "alertmanager") == 2 })

	stop := manager.start()
	eventually(t, "both alerts arrive", func() bool { return len(manager.alerts()) == 2 })
	if l := manager.alerts()[two.GetFingerprint()]; l["alertname"] != "state.local" || l["severity"] != "high" || l["subject"] != `/tmp/\x1b[31m\u202e 日本語` {
		t.Errorf("labels %v", l)
	}
	eventually(t, "somebody is paged", func() bool {
		return pager.of(one.GetFingerprint()) == "[firing]" && pager.of(two.GetFingerprint()) == "[firing]"
	})

	// The notifier is killed; while it is away one finding is resolved and a third comes.
	d.shut()
	d.open()
	one.State = isResolved
	three := finding("cc", isOpen)
	d.put(one, three)
	d.run(quick)
	eventually(t, "the resolve arrives", func() bool { return pager.of(one.GetFingerprint()) == "[firing resolved]" })
	eventually(t, "the third alert arrives", func() bool { return pager.of(three.GetFingerprint()) == "[firing]" })
	eventually(t, "the outbox holds what is open", func() bool { return d.metric("pending", "alertmanager") == 2 })

	// It forgets what fires when it is started again, and is told again.
	stop()
	eventually(t, "the attempts fail again", func() bool { return d.metric("failing", "alertmanager") == 2 })
	manager.start()
	eventually(t, "it knows all again", func() bool { return len(manager.alerts()) == 2 })
	two.State, three.State = isResolved, isResolved
	d.put(two, three)
	for _, f := range []string{two.GetFingerprint(), three.GetFingerprint()} {
		// An Alertmanager that is stopped between paging somebody and writing that down pages again.
		eventually(t, "all is over", func() bool { return overOnce.MatchString(pager.of(f)) })
	}
	eventually(t, "nothing fires", func() bool { return len(manager.alerts()) == 0 })
	eventually(t, "the outbox is empty", func() bool { return d.metric("pending", "alertmanager") == 0 })
	if n := d.metric("alerts_total", "alertmanager", "given_up"); n != 0 {
		t.Errorf("%v alerts were refused", n)
	}
	d.shut()
}
