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
//   - group: sre                     # whoever the OpenID Connect provider says is of this group
//     role: responder
type People struct {
	file  string
	oidc  *OIDC // nil without a provider
	log   *slog.Logger
	every time.Duration

	mu     sync.Mutex
	looked time.Time
	sum    [sha256.Size]byte
	failed string
	known  *known
}

// known are the people in the file.
type known struct {
	tokens map[[sha256.Size]byte]*Person
	groups []group // in their order in the file
}

// group is what somebody of it may do.
type group struct {
	name     string
	role     Role
	clusters []string
}

// LoadPeople reads the file. Groups in it are those that a provider tells of; nil is none.
func LoadPeople(file string, provider *OIDC, logger *slog.Logger) (*People, error) {
	p := &People{file: file, oidc: provider, log: logger, every: lookEvery}
	if err := p.read(); err != nil {
		return nil, fmt.Errorf("people: %w", err)
	}
	switch groups := len(p.known.groups); {
	case groups > 0 && provider == nil:
		return nil, fmt.Errorf("people: %s names groups: they need an OpenID Connect provider that says who is of them", file)
	case groups == 0 && provider != nil:
		return nil, fmt.Errorf("people: %s names no group: nobody of the OpenID Connect provider %s could ask", file, provider.o.Issuer)
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
		p.log.Info("who may ask has changed", "people", len(known.tokens), "groups", len(known.groups))
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

// entry is one of the file.
type entry struct {
	Name, Group, Role, Token string
	Clusters                 []string
}

func (e *entry) who() string { return e.Name + e.Group }

// decodeEntries reads YAML. The library panics on some texts that are none ("! 000"), and a collector must outlive a file that is damaged.
func decodeEntries(content []byte) (list []entry, err error) {
	defer func() {
		if why := recover(); why != nil {
			list, err = nil, fmt.Errorf("this is not YAML: %v", why)
		}
	}()
	if err := yaml.UnmarshalWithOptions(content, &list, yaml.Strict()); err != nil {
		return nil, errors.New(yaml.FormatError(err, false, true))
	}
	return list, nil
}

func parsePeople(content []byte) (*known, error) {
	list, err := decodeEntries(content)
	if err != nil {
		return nil, err
	}
	all := &known{tokens: map[[sha256.Size]byte]*Person{}}
	for i := range list {
		e := &list[i]
		role, ok := roles[e.Role]
		switch {
		case e.who() == "":
			return nil, fmt.Errorf("entry %d has no name", i+1)
		case e.Name != "" && e.Group != "":
			return nil, fmt.Errorf("%s and %s are one entry: write two", e.Name, e.Group)
		case !ok:
			return nil, fmt.Errorf("%s: %q is no role: write viewer, responder or admin", e.who(), e.Role)
		case e.Clusters != nil && len(e.Clusters) == 0:
			return nil, fmt.Errorf("%s: clusters are none: leave them out for all of them", e.who())
		case strings.ContainsAny(strings.Join(e.Clusters, ""), "*/"):
			return nil, fmt.Errorf("%s: clusters are names, without * and /: leave them out for all of them", e.who())
		case e.Group != "" && e.Token != "":
			return nil, fmt.Errorf("%s: a group has no token; its people bring those of the provider", e.Group)
		case e.Group != "":
			all.groups = append(all.groups, group{e.Group, role, e.Clusters})
			continue
		}
		digest, err := hex.DecodeString(strings.TrimPrefix(e.Token, digestPrefix))
		if err != nil || len(digest) != sha256.Size || !strings.HasPrefix(e.Token, digestPrefix) {
			return nil, fmt.Errorf("%s: the token is not written as sha256: and 64 hexadecimal digits; \"spoor pki token\" makes one", e.Name)
		}
		if other := all.tokens[[sha256.Size]byte(digest)]; other != nil {
			return nil, fmt.Errorf("%s has the token of %s", e.Name, other.Name)
		}
		all.tokens[[sha256.Size]byte(digest)] = &Person{Name: e.Name, Role: role, Clusters: e.Clusters}
	}
	return all, nil
}

// of returns what somebody of some groups may do: what the first of them in the file may. Several are not put together, or a viewer of
// everything who is a responder of one cluster would be a responder of everything.
func (k *known) of(b *bearer) *Person {
	for _, g := range k.groups {
		if slices.Contains(b.groups, g.name) {
			return &Person{Name: b.name, Role: g.role, Clusters: g.clusters}
		}
	}
	return nil
}

// latest returns what is in the file, which is read again when it is time to.
func (p *People) latest() *known {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.looked) >= p.every {
		p.looked = now
		if err := p.read(); err != nil && err.Error() != p.failed {
			p.failed = err.Error()
			p.log.Error("the file of people cannot be read again; those from before stay", "error", err)
		}
	}
	return p.known
}

var (
	errNoToken  = errors.New("say who you are: a token is needed, as \"Authorization: Bearer TOKEN\" or SPOOR_TOKEN")
	errStranger = errors.New("the token is not known here")
	errNoGroup  = errors.New("none of your groups may ask here")
)

// by returns who has a token.
func (p *People) by(ctx context.Context, token string) (*Person, error) {
	if token == "" {
		return nil, errNoToken
	}
	all := p.latest()
	// A map of digests tells nobody by its time how much of a token was right.
	if person := all.tokens[sha256.Sum256([]byte(token))]; person != nil {
		return person, nil
	}
	if p.oidc == nil || !looksLikeOne(token) {
		return nil, errStranger
	}
	b, err := p.oidc.check(ctx, token)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errStranger, err)
	}
	if person := all.of(b); person != nil {
		return person, nil
	}
	return nil, fmt.Errorf("%s: %w", b.name, errNoGroup)
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
		person, err := p.by(r.Context(), token(r))
		switch {
		case errors.Is(err, errNoGroup): // another token would be of the same groups
			refused()
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		case err != nil:
			refused()
			w.Header().Set("WWW-Authenticate", `Basic realm="spoor: any name, and your token as the password", charset="UTF-8"`)
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), personKey{}, person)))
	})
}

// sees reports whether somebody may ask about a cluster.
func (p *Person) sees(cluster string) bool {
	return p.Clusters == nil || slices.Contains(p.Clusters, cluster)
}
