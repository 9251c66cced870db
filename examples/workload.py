"""A workload that keeps its token until shortly before it expires. Python 3.9 or newer, standard library only."""

import base64
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request


class NoToken(Exception):
    """The issuer refused, or could not be reached."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows none: urllib would take the secret, or the token, along to wherever it leads."""

    def redirect_request(self, *_):
        return None


http = urllib.request.build_opener(NoRedirect)


class TokenSource:
    """Access tokens of one client. Threads that come together share one request."""

    def __init__(self, issuer, client_id, client_secret):
        # Form-encoded first (RFC 6749 section 2.3.1); generated ids and secrets stay as they are.
        credentials = ":".join(urllib.parse.quote_plus(part) for part in (client_id, client_secret))
        self._request = urllib.request.Request(
            f"{issuer}/token",
            data=urllib.parse.urlencode({"grant_type": "client_credentials"}).encode(),
            headers={"Authorization": "Basic " + base64.b64encode(credentials.encode()).decode()},
        )
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

    def _fetch(self):
        try:
            with http.open(self._request, timeout=5) as reply:
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
    tokens = TokenSource(
        os.environ.get("ISSUER", "http://127.0.0.1:8080"), os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]
    )
    try:
        for service in sys.argv[1:] or ["http://127.0.0.1:3000/"]:
            print(*call(service, tokens.get()))
    except NoToken as refusal:
        sys.exit(str(refusal))
