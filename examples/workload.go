// A workload that keeps its token until shortly before it expires. Go 1.18 or newer, standard library only:
//
//	go run workload.go http://127.0.0.1:3000/
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// TokenSource hands out access tokens of one client. Callers that come together share one request.
type TokenSource struct {
	issuer, clientID, clientSecret string

	mu      sync.Mutex
	token   string
	renewAt time.Time
}

// Follows no redirect: it would take the secret, or the token, along to wherever it leads.
var client = http.Client{
	Timeout:       5 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Token is an access token that is good for a while.
func (s *TokenSource) Token() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != "" && time.Now().Before(s.renewAt) {
		return s.token, nil
	}
	token, lifetime, err := s.fetch()
	if err != nil {
		return "", fmt.Errorf("no token: %w", err)
	}
	// A tenth of its life early, so that it does not expire on its way.
	s.token, s.renewAt = token, time.Now().Add(lifetime*9/10)
	return token, nil
}

func (s *TokenSource) fetch() (string, time.Duration, error) {
	form := url.Values{"grant_type": {"client_credentials"}}.Encode()
	request, err := http.NewRequest(http.MethodPost, s.issuer+"/token", strings.NewReader(form))
	if err != nil {
		return "", 0, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	// Form-encoded first (RFC 6749 section 2.3.1); generated ids and secrets stay as they are.
	request.SetBasicAuth(url.QueryEscape(s.clientID), url.QueryEscape(s.clientSecret))
	reply, err := client.Do(request)
	if err != nil {
		return "", 0, err
	}
	defer reply.Body.Close()
	var body struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
		Error       string `json:"error"`
	}
	err = json.NewDecoder(io.LimitReader(reply.Body, 1<<20)).Decode(&body)
	if reply.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("%d %s", reply.StatusCode, body.Error)
	}
	if err != nil {
		return "", 0, err
	}
	return body.AccessToken, time.Duration(body.ExpiresIn) * time.Second, nil
}

// call gives status and body of a service's answer, whatever it is.
func call(service, token string) (string, error) {
	request, err := http.NewRequest(http.MethodGet, service, nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	reply, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	return fmt.Sprintf("%d %s", reply.StatusCode, body), err
}

func run() error {
	issuer := os.Getenv("ISSUER")
	if issuer == "" {
		issuer = "http://127.0.0.1:8080"
	}
	services := os.Args[1:]
	if len(services) == 0 {
		services = []string{"http://127.0.0.1:3000/"}
	}
	tokens := TokenSource{issuer: issuer, clientID: os.Getenv("CLIENT_ID"), clientSecret: os.Getenv("CLIENT_SECRET")}
	for _, service := range services {
		token, err := tokens.Token()
		if err != nil {
			return err
		}
		answer, err := call(service, token)
		if err != nil {
			return err
		}
		fmt.Println(answer)
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
