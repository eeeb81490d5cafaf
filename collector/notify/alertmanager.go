// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// AlertmanagerOptions of NewAlertmanager. URL is required.
type AlertmanagerOptions struct {
	// URL of an Alertmanager, for example http://127.0.0.1:9093, with its path prefix when it has one. A user and
	// password in it are sent as HTTP basic authentication.
	URL string
	// WebURL is where people see the collector's page: alerts link to their findings there. Empty for no link.
	WebURL string
	// Name is "alertmanager". With several of them, each needs its own.
	Name string
	// Transport is how to get there; one of its own by default.
	Transport http.RoundTripper
}

// Alertmanager is a Receiver: the API v2 of Prometheus's Alertmanager (POST /api/v2/alerts).
//
// An alert there is its labels, and lives until its end time. So an alert is sent with the labels that it was first
// sent with and an end that lies ahead, again and again; when what the labels say has changed, say the severity, the
// old alert is ended in the same request that begins the new one. A resolved alert ends now.
type Alertmanager struct {
	name     string
	endpoint *url.URL
	web      string
	client   *http.Client
}

var _ Receiver = (*Alertmanager)(nil)

// NewAlertmanager checks the options. It does not connect.
func NewAlertmanager(o AlertmanagerOptions) (*Alertmanager, error) {
	base, err := absolute(o.URL)
	if err != nil {
		return nil, fmt.Errorf("alertmanager URL: %w", err)
	}
	if o.WebURL != "" {
		if _, err := absolute(o.WebURL); err != nil {
			return nil, fmt.Errorf("web URL for alertmanager: %w", err)
		}
	}
	if o.Name == "" {
		o.Name = "alertmanager"
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second,
			TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		}
	}
	return &Alertmanager{
		name: o.Name, endpoint: base.JoinPath("api", "v2", "alerts"), web: strings.TrimSuffix(o.WebURL, "/"),
		client: &http.Client{
			Transport: o.Transport,
			// A redirected POST becomes a GET, which Alertmanager answers with a 200 and nothing done.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

func absolute(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		// The text may hold a password.
		if parse, ok := errors.AsType[*url.Error](err); ok {
			err = parse.Err
		}
		return nil, fmt.Errorf("it cannot be read (%w): write for example http://127.0.0.1:9093", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is not the URL of a server: write for example http://127.0.0.1:9093", u.Redacted())
	}
	return u, nil
}

// Name implements Receiver.
func (a *Alertmanager) Name() string { return a.name }

// Close closes connections that are kept for the next Send.
func (a *Alertmanager) Close() { a.client.CloseIdleConnections() }

// postableAlert is that of Alertmanager's api/v2/openapi.yaml.
type postableAlert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

// alertmanagerMemo is what must be known of an alert to end it.
type alertmanagerMemo struct {
	Labels map[string]string `json:"labels"`
	Start  time.Time         `json:"start"`
}

// Send implements Receiver.
func (a *Alertmanager) Send(ctx context.Context, alerts []*Alert) error {
	all := make([]postableAlert, 0, len(alerts))
	for _, alert := range alerts {
		posts, err := a.posts(alert)
		if err != nil {
			return err
		}
		all = append(all, posts...)
	}
	body, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", a.name, ErrRefused, err)
	}
	return a.post(ctx, body)
}

// posts returns what to post of one alert, and leaves a memo of it.
func (a *Alertmanager) posts(alert *Alert) ([]postableAlert, error) {
	p := postableAlert{Labels: labels(alert.Finding), Annotations: annotations(alert.Finding), StartsAt: began(alert), EndsAt: alert.Until}
	if a.web != "" {
		p.GeneratorURL = a.web + "/#finding=" + url.QueryEscape(alert.Finding.GetId())
	}
	var told alertmanagerMemo
	if len(alert.Memo) > 0 {
		if err := json.Unmarshal(alert.Memo, &told); err != nil {
			return nil, fmt.Errorf("%s: finding %s: what was told of it cannot be read: %w: %w", a.name, alert.Finding.GetId(), ErrRefused, err)
		}
		p.StartsAt = told.Start
	}
	// Alertmanager refuses an end before the start, and clocks can be set back.
	if p.StartsAt.After(alert.Time) {
		p.StartsAt = alert.Time
	}
	var posts []postableAlert
	if told.Labels != nil && (alert.Resolved || !maps.Equal(told.Labels, p.Labels)) {
		old := p
		old.Labels, old.EndsAt = told.Labels, alert.Time
		posts = append(posts, old)
	}
	switch {
	case !alert.Resolved:
		posts = append(posts, p)
	case told.Labels == nil:
		// An attempt whose outcome was not known may have been heard.
		p.EndsAt = alert.Time
		posts = append(posts, p)
	}
	memo, err := json.Marshal(alertmanagerMemo{p.Labels, p.StartsAt})
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", a.name, ErrRefused, err)
	}
	alert.Memo = memo
	return posts, nil
}

// maxAnswer is how much of an answer is read, for the log.
const maxAnswer = 2048

func (a *Alertmanager) post(ctx context.Context, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: %w", a.name, err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "spoor")
	response, err := a.client.Do(request)
	if err != nil {
		return fmt.Errorf("%s: %w", a.name, err) // the client takes passwords out of the URL
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if response.StatusCode/100 == 2 {
		return nil
	}
	if err != nil {
		text = append(text, " ("+err.Error()+")"...)
	}
	return a.failure(response, strings.TrimSpace(string(text)))
}

// failure says what an answer means. What is wrong with the alerts will not get better; a wrong address or password,
// or a proxy that limits or fails, will.
func (a *Alertmanager) failure(response *http.Response, text string) error {
	problem := a.endpoint.Redacted() + ": " + response.Status
	if to := response.Header.Get("Location"); to != "" && response.StatusCode/100 == 3 {
		problem += " to " + to + ": write the URL that it leads to"
	}
	if text != "" {
		problem += ": " + clean(text, maxAnswer)
	}
	err := errors.New(a.name + ": " + problem)
	switch response.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if seconds, bad := strconv.Atoi(response.Header.Get("Retry-After")); bad == nil && seconds > 0 {
			return &Delayed{Err: err, After: time.Duration(min(seconds, 86400)) * time.Second}
		}
	}
	return err
}
