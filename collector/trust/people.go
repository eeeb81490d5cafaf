// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-yaml"
)

// Role is what somebody may do; each may do what those before may.
type Role int

// The roles.
const (
	// Viewer asks.
	Viewer Role = iota + 1
	// Responder acknowledges and resolves findings.
	Responder
	// Admin runs SQL, which no scope bounds.
	Admin
)

var roles = map[string]Role{"viewer": Viewer, "responder": Responder, "admin": Admin}

func (r Role) String() string {
	for name, role := range roles {
		if role == r {
			return name
		}
	}
	return "nobody"
}

// Person is somebody, or a program, that asks.
type Person struct {
	Name string
	Role Role
	// Clusters that it may ask about; nil is all of them. Hosts outside of clusters have the name "".
	Clusters []string
}

type personKey struct{}

// PersonOf returns who asks, or nil where nobody is asked who he is.
func PersonOf(ctx context.Context) *Person {
	p, _ := ctx.Value(personKey{}).(*Person)
	return p
}

// lookEvery is how often the file of people is looked at, at most.
const lookEvery = time.Second

// People is a file of people and the digests of their tokens. It is read again when it has changed.
//
//   - name: oncall
//     role: responder                # viewer, responder or admin
//     clusters: [prod]               # all, when left out
//     token: sha256:9f86d081...      # spoor pki token makes one
type People struct {
	file  string
	log   *slog.Logger
	every time.Duration

	mu     sync.Mutex
	looked time.Time
	sum    [sha256.Size]byte
	failed string
	known  map[[sha256.Size]byte]*Person
}

// LoadPeople reads the file.
func LoadPeople(file string, logger *slog.Logger) (*People, error) {
	p := &People{file: file, log: logger, every: lookEvery}
	if err := p.read(); err != nil {
		return nil, fmt.Errorf("people: %w", err)
	}
	return p, nil
}

func (p *People) read() error {
	content, err := os.ReadFile(p.file)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	if p.known != nil && sum == p.sum {
		return nil
	}
	known, err := parsePeople(content)
	if err != nil {
		return fmt.Errorf("%s: %w", p.file, err)
	}
	if p.known != nil {
		p.log.Info("who may ask has changed", "people", len(known))
	}
	p.sum, p.known, p.failed = sum, known, ""
	return nil
}

const digestPrefix = "sha256:"

// Digest returns how a token stands in the file.
func Digest(token string) string {
	sum := sha256.Sum256([]byte(token))
	return digestPrefix + hex.EncodeToString(sum[:])
}

func parsePeople(content []byte) (map[[sha256.Size]byte]*Person, error) {
	var list []struct {
		Name, Role, Token string
		Clusters          []string
	}
	if err := yaml.UnmarshalWithOptions(content, &list, yaml.Strict()); err != nil {
		return nil, errors.New(yaml.FormatError(err, false, true))
	}
	known := map[[sha256.Size]byte]*Person{}
	for i, e := range list {
		role, ok := roles[e.Role]
		digest, err := hex.DecodeString(strings.TrimPrefix(e.Token, digestPrefix))
		switch {
		case e.Name == "":
			return nil, fmt.Errorf("entry %d has no name", i+1)
		case !ok:
			return nil, fmt.Errorf("%s: %q is no role: write viewer, responder or admin", e.Name, e.Role)
		case err != nil || len(digest) != sha256.Size || !strings.HasPrefix(e.Token, digestPrefix):
			return nil, fmt.Errorf("%s: the token is not written as sha256: and 64 hexadecimal digits; \"spoor pki token\" makes one", e.Name)
		case known[[sha256.Size]byte(digest)] != nil:
			return nil, fmt.Errorf("%s has the token of %s", e.Name, known[[sha256.Size]byte(digest)].Name)
		case e.Clusters != nil && len(e.Clusters) == 0:
			return nil, fmt.Errorf("%s: clusters are none: leave them out for all of them", e.Name)
		case strings.ContainsAny(strings.Join(e.Clusters, ""), "*/"):
			return nil, fmt.Errorf("%s: clusters are names, without * and /: leave them out for all of them", e.Name)
		}
		known[[sha256.Size]byte(digest)] = &Person{Name: e.Name, Role: role, Clusters: e.Clusters}
	}
	return known, nil
}

// by returns who has a token, or nil.
func (p *People) by(token string) *Person {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.looked) >= p.every {
		p.looked = now
		if err := p.read(); err != nil && err.Error() != p.failed {
			p.failed = err.Error()
			p.log.Error("the file of people cannot be read again; those from before stay", "error", err)
		}
	}
	// A map of digests tells nobody by its time how much of a token was right.
	return p.known[sha256.Sum256([]byte(token))]
}

// token returns what a request proves itself by: a bearer token, or the password that a browser asked for.
func token(r *http.Request) string {
	if t, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return strings.TrimSpace(t)
	}
	_, password, _ := r.BasicAuth()
	return password
}

// Guard lets known people pass. A nil *People knows nobody.
func (p *People) Guard(next http.Handler, refused func()) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p == nil {
			refused()
			http.Error(w, "nobody may ask this collector: its operator has to name people (--people)", http.StatusForbidden)
			return
		}
		t := token(r)
		person := p.by(t)
		if t == "" || person == nil {
			refused()
			w.Header().Set("WWW-Authenticate", `Basic realm="spoor: any name, and your token as the password", charset="UTF-8"`)
			http.Error(w, "say who you are: a token is needed, as \"Authorization: Bearer TOKEN\" or SPOOR_TOKEN", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), personKey{}, person)))
	})
}

// sees reports whether somebody may ask about a cluster.
func (p *Person) sees(cluster string) bool {
	return p.Clusters == nil || slices.Contains(p.Clusters, cluster)
}
