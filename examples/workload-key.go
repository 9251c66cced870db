// A workload that proves itself with a key of its own (private_key_jwt), and keeps its token until shortly before it expires.
// Go 1.18 or newer, standard library only:
//
//	go run workload-key.go http://127.0.0.1:3000/
package main

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// TokenSource hands out access tokens of one client. Callers that come together share one request.
type TokenSource struct {
	issuer, clientID string
	// Which of the registered keys it is; needed when the client has several.
	keyID string
	// A P-256 key, which never leaves this machine.
	key *ecdsa.PrivateKey

	mu      sync.Mutex
	token   string
	renewAt time.Time
}

// Follows no redirect: it would take the assertion, or the token, along to wherever it leads.
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

// assertion is a statement that is good for one request to this issuer, within a minute (RFC 7523 section 3).
func (s *TokenSource) assertion() (string, error) {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return "", err
	}
	header := map[string]any{"alg": "ES256", "typ": "client-authentication+jwt"}
	if s.keyID != "" {
		header["kid"] = s.keyID
	}
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": s.clientID, "sub": s.clientID, "aud": s.issuer,
		"iat": now, "exp": now + 60, "jti": hex.EncodeToString(id),
	}
	input := encode(header) + "." + encode(claims)
	digest := sha256.Sum256([]byte(input))
	x, y, err := ecdsa.Sign(rand.Reader, s.key, digest[:])
	if err != nil {
		return "", err
	}
	// Two numbers of 32 bytes, one after the other (RFC 7518 section 3.4).
	signature := make([]byte, 64)
	x.FillBytes(signature[:32])
	y.FillBytes(signature[32:])
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func encode(part map[string]any) string {
	text, _ := json.Marshal(part)
	return base64.RawURLEncoding.EncodeToString(text)
}

func (s *TokenSource) fetch() (string, time.Duration, error) {
	assertion, err := s.assertion()
	if err != nil {
		return "", 0, err
	}
	reply, err := client.PostForm(s.issuer+"/token", url.Values{
		"grant_type":            {"client_credentials"},
		"client_assertion_type": {assertionType},
		"client_assertion":      {assertion},
	})
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

func readKey(path string) (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New(path + " is no PEM file")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New(path + " is no P-256 key")
	}
	return private, nil
}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func run() error {
	key, err := readKey(setting("KEY_FILE", "key.pem"))
	if err != nil {
		return err
	}
	services := os.Args[1:]
	if len(services) == 0 {
		services = []string{"http://127.0.0.1:3000/"}
	}
	tokens := TokenSource{
		issuer:   setting("ISSUER", "http://127.0.0.1:8080"),
		clientID: os.Getenv("CLIENT_ID"),
		keyID:    os.Getenv("KEY_ID"),
		key:      key,
	}
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
