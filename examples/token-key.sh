#!/bin/sh
# Prints an access token that an RSA key asks for (private_key_jwt). CLIENT_ID and KEY_FILE, a key in PEM, come from the
# environment; the assertion reaches curl on stdin, so that `ps` does not show it. ISSUER, KEY_ID, SCOPE and RESOURCE are
# optional; KEY_ID says which of several registered keys it is.
set -eu
: "${CLIENT_ID:?set CLIENT_ID}" "${KEY_FILE:?set KEY_FILE}"
issuer=${ISSUER:-http://127.0.0.1:8080}

encode() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

# Good for one request to this issuer, within a minute (RFC 7523 section 3).
now=$(date +%s)
header=$(printf '{"alg":"RS256","typ":"client-authentication+jwt"%s}' "${KEY_ID:+,\"kid\":\"$KEY_ID\"}" | encode)
claims=$(printf '{"iss":"%s","sub":"%s","aud":"%s","iat":%d,"exp":%d,"jti":"%s"}' \
  "$CLIENT_ID" "$CLIENT_ID" "$issuer" "$now" "$((now + 60))" "$(openssl rand -hex 16)" | encode)
signature=$(printf '%s.%s' "$header" "$claims" | openssl dgst -sha256 -sign "$KEY_FILE" | encode)

reply=$(printf '%s.%s.%s' "$header" "$claims" "$signature" |
  curl --silent --show-error --max-time 5 --write-out ' %{http_code}' \
    --data grant_type=client_credentials \
    --data client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer \
    --data-urlencode client_assertion@- \
    ${SCOPE:+--data-urlencode "scope=$SCOPE"} \
    ${RESOURCE:+--data-urlencode "resource=$RESOURCE"} \
    "$issuer/token")

# A token has only characters that JSON need not escape.
token=$(printf '%s' "$reply" | sed -n 's/.*"access_token":"\([A-Za-z0-9._-]*\)".*/\1/p')
if [ -z "$token" ]; then
  echo "no token: ${reply##* } ${reply% *}" >&2
  exit 1
fi
echo "$token"
