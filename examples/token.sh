#!/bin/sh
# Prints an access token. CLIENT_ID and CLIENT_SECRET come from the environment and reach curl through its config on
# stdin, so that `ps` does not show them. ISSUER, SCOPE and RESOURCE are optional.
set -eu
: "${CLIENT_ID:?set CLIENT_ID}" "${CLIENT_SECRET:?set CLIENT_SECRET}"

reply=$(printf 'user = "%s:%s"\n' "$CLIENT_ID" "$CLIENT_SECRET" |
  curl --config - --silent --show-error --max-time 5 --write-out ' %{http_code}' \
    --data grant_type=client_credentials \
    ${SCOPE:+--data-urlencode "scope=$SCOPE"} \
    ${RESOURCE:+--data-urlencode "resource=$RESOURCE"} \
    "${ISSUER:-http://127.0.0.1:8080}/token")

# A token has only characters that JSON need not escape.
token=$(printf '%s' "$reply" | sed -n 's/.*"access_token":"\([A-Za-z0-9._-]*\)".*/\1/p')
if [ -z "$token" ]; then
  echo "no token: ${reply##* } ${reply% *}" >&2
  exit 1
fi
echo "$token"
