"""A workload that proves itself with a key of its own (private_key_jwt), and keeps its token until shortly before it expires.

Python 3.9 or newer, with PyJWT: pip install 'pyjwt[crypto]'
"""

import json
import os
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

import jwt

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class NoToken(Exception):
    """The issuer refused, or could not be reached."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows none: urllib would take the assertion, or the token, along to wherever it leads."""

    def redirect_request(self, *_):
        return None


http = urllib.request.build_opener(NoRedirect)


class TokenSource:
    """Access tokens of one client. Threads that come together share one request."""

    def __init__(self, issuer, client_id, key, kid=None):
        self._issuer = issuer
        self._client_id = client_id
        # A P-256 key in PEM, which never leaves this machine.
        self._key = key
        # Which of the registered keys it is; needed when the client has several.
        self._kid = kid
        self._lock = threading.Lock()
        self._token = None
        self._renew_at = 0.0

    def get(self):
        """An access token that is good for a while. Raises NoToken."""
        with self._lock:
            if self._token is None or time.monotonic() >= self._renew_at:
                self._token, lifetime = self._fetch()
                # A tenth of its life early, so that it does not expire on its way.
                self._renew_at = time.monotonic() + lifetime * 0.9
            return self._token

    def _assertion(self):
        """A statement that is good for one request to this issuer, within a minute (RFC 7523 section 3)."""
        now = int(time.time())
        claims = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": self._issuer,
            "iat": now,
            "exp": now + 60,
            "jti": str(uuid.uuid4()),
        }
        headers = {"typ": "client-authentication+jwt", **({"kid": self._kid} if self._kid else {})}
        return jwt.encode(claims, self._key, algorithm="ES256", headers=headers)

    def _fetch(self):
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self._assertion(),
        }
        request = urllib.request.Request(f"{self._issuer}/token", data=urllib.parse.urlencode(form).encode())
        try:
            with http.open(request, timeout=5) as reply:
                body = json.load(reply)
                return body["access_token"], body["expires_in"]
        except urllib.error.HTTPError as refused:
            raise NoToken(f"no token: {refused.code} {error_code(refused)}") from None
        except (OSError, ValueError, KeyError) as cause:
            raise NoToken(f"no token: {cause}") from cause


def error_code(reply):
    """The error code of a refusal (RFC 6749 section 5.2), or nothing."""
    try:
        return json.load(reply).get("error", "")
    except (ValueError, AttributeError):
        return ""


def call(url, token):
    """Status and body of a service's answer, whatever it is."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with http.open(request, timeout=5) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


if __name__ == "__main__":
    with open(os.environ.get("KEY_FILE", "key.pem"), encoding="ascii") as file:
        pem = file.read()
    tokens = TokenSource(
        os.environ.get("ISSUER", "http://127.0.0.1:8080"), os.environ["CLIENT_ID"], pem, os.environ.get("KEY_ID")
    )
    try:
        for service in sys.argv[1:] or ["http://127.0.0.1:3000/"]:
            print(*call(service, tokens.get()))
    except NoToken as refusal:
        sys.exit(str(refusal))
