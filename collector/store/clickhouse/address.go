// SPDX-License-Identifier: Apache-2.0

package clickhouse

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Scheme begins the address of a store.
const Scheme = "clickhouse"

// The ports of ClickHouse's HTTP interface.
const (
	plainPort  = "8123"
	securePort = "8443"
)

// Address says where a store is.
type Address struct {
	// Hosts are host:port of the HTTP interface of servers that have the same tables: the first that works is used.
	Hosts []string
	// Database in which the tables are made. It must exist, unless Cluster makes it.
	Database string
	User     string
	Password string
	// Secure is HTTPS.
	Secure bool
	// Cluster, where it is set, is the cluster, as the servers' configuration calls it, on which replicated tables are made.
	Cluster string
}

var name = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,63}$`)

// ParseAddress reads clickhouse://[user[:password]@]host[:port][,host[:port]...]/database[?secure=true&cluster=name].
func ParseAddress(s string) (*Address, error) {
	a, err := parseAddress(s)
	if err != nil {
		// Not s: it may have a password.
		return nil, fmt.Errorf("address of the store: %w: write clickhouse://user@host:8123,host2:8123/database", err)
	}
	return a, nil
}

func parseAddress(s string) (*Address, error) {
	rest, ok := strings.CutPrefix(s, Scheme+"://")
	if !ok {
		return nil, errors.New("it does not begin with clickhouse://")
	}
	// net/url knows one host only: the others are put back afterwards.
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	credentials, hosts := "", rest[:end]
	if at := strings.LastIndexByte(hosts, '@'); at >= 0 {
		credentials, hosts = hosts[:at+1], hosts[at+1:]
	}
	u, err := url.Parse("http://" + credentials + "host" + rest[end:])
	if err != nil {
		return nil, errors.New("user, password, database or what follows cannot be read (percent-encode special characters)")
	}
	a := &Address{User: u.User.Username(), Database: strings.Trim(u.Path, "/")}
	a.Password, _ = u.User.Password()
	for key, values := range u.Query() {
		value := values[len(values)-1]
		switch key {
		case "secure":
			if value != "true" && value != "false" {
				return nil, fmt.Errorf("secure is %q, not true or false", value)
			}
			a.Secure = value == "true"
		case "cluster":
			a.Cluster = value
		default:
			return nil, fmt.Errorf("%q is not known, only secure and cluster are", key)
		}
	}
	if !name.MatchString(a.Database) {
		return nil, fmt.Errorf("the database %q is not a name of letters, digits, _ and -", a.Database)
	}
	if a.Cluster != "" && !name.MatchString(a.Cluster) {
		return nil, fmt.Errorf("the cluster %q is not a name of letters, digits, _ and -", a.Cluster)
	}
	for host := range strings.SplitSeq(hosts, ",") {
		if host, err = a.host(host); err != nil {
			return nil, err
		}
		if slices.Contains(a.Hosts, host) {
			return nil, fmt.Errorf("the host %s is there twice", host)
		}
		a.Hosts = append(a.Hosts, host)
	}
	return a, nil
}

func (a *Address) host(s string) (string, error) {
	port := plainPort
	if a.Secure {
		port = securePort
	}
	host := s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		host = s[1 : len(s)-1]
	} else if h, p, err := net.SplitHostPort(s); err == nil {
		host, port = h, p
	}
	u, err := url.Parse("http://" + net.JoinHostPort(host, port))
	if err != nil || host == "" || u.Port() == "" || u.Path != "" {
		return "", fmt.Errorf("%q is not a host or host:port", s)
	}
	return u.Host, nil
}

// String leaves the password out.
func (a *Address) String() string {
	user := ""
	if a.User != "" {
		user = url.User(a.User).String() + "@"
	}
	return Scheme + "://" + user + strings.Join(a.Hosts, ",") + "/" + a.Database
}
