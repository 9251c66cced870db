"""The same service in Python. Needs PyJWT (run with 2.6) and cryptography: pip install 'pyjwt[crypto]'"""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

ISSUER = os.environ.get("ISSUER", "http://127.0.0.1:8080")
AUDIENCE = os.environ.get("AUDIENCE", "https://api.example.com")
keys = jwt.PyJWKClient(f"{ISSUER}/.well-known/jwks.json")


def scopes_of(authorization):
    """The scopes of a good token, or None."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    try:
        claims = jwt.decode(
            token.strip(),
            keys.get_signing_key_from_jwt(token.strip()).key,
            algorithms=["ES256", "RS256"],
            audience=AUDIENCE,
            issuer=ISSUER,
            options={"require": ["exp", "iat", "sub", "client_id", "jti"]},
        )
        # Bound to a key or a certificate, which nobody here asks for: a copy must not pass without it.
        if "cnf" in claims:
            return None
        # PyJWT does not look at it.
        return claims.get("scope", "").split() if jwt.get_unverified_header(token)["typ"] == "at+jwt" else None
    except (jwt.PyJWTError, KeyError):
        return None


class Invoices(BaseHTTPRequestHandler):
    def do_GET(self):
        scopes = scopes_of(self.headers.get("Authorization"))
        if scopes is None:
            self.answer(401, {"WWW-Authenticate": "Bearer"})
        elif "invoices:read" not in scopes:
            self.answer(403, {"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="invoices:read"'})
        else:
            self.answer(200, {"Content-Type": "application/json"}, b'{"invoices":[]}')

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """A log of requests is not the point here."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "3000"))), Invoices)
    print("listening on", json.dumps({"port": server.server_port}), flush=True)
    server.serve_forever()
