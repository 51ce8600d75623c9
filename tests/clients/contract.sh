#!/bin/bash
# The contract: schemathesis reads the OpenAPI document that the running server serves, makes requests of it, good
# and bad ones, and holds every answer against the document. No 5xx, no answer that is not described. Bounded in time.
. "$(dirname "$0")/lib.sh"

ST="${CHANCERY_TEST_SCHEMATHESIS:-$ROOT/tests/.cache/schemathesis/bin/schemathesis}"
SECONDS_OF_EACH=${CHANCERY_TEST_CONTRACT_SECONDS:-100}
# positive_data_acceptance is left out: a CA refuses names and profiles by policy, which no schema can say.
CHECKS=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance
CHECKS+=,response_schema_conformance,negative_data_rejection,unsupported_method,ignored_auth,use_after_free

contract() {
  [ -x "$ST" ] || { skip contract "schemathesis is not installed; tests/run contract installs it"; return; }
  start_server || return
  # a token of an administrator, so that no operation is left out for want of a right
  TOKEN=$(chancery token create --name contract --role admin 2>"$WORK/token.log") || { not_ok "token create" "$(cat "$WORK/token.log")"; return; }
  curl -fsS --cacert "$ROOT_PEM" -o "$DIR/served.json" "$HTTPS/api/v1/openapi.json" || { not_ok "the document is served" "$HTTPS"; return; }
  check "what is served is what is committed" cmp "$DIR/served.json" "$ROOT/openapi/chancery.json" || return
  check "schemathesis finds nothing that the document does not say" schemathesis
  check "it tried every operation but the one that ends its token" tried 1
  check "nor when tokens are made and revoked" tokens
  check "it tried these three" tested 3
  check "the server is as well as before" chancery fsck
}

# A connection that the server closed as idle is tried again; an answer never is. The first run leaves out what could end its own token; the second has these operations alone, and a token whose id
# it never learns.
schemathesis() {
  exercise "$SECONDS_OF_EACH" --exclude-operation-id revokeToken
}
tokens() {
  exercise 20 --include-operation-id createToken --include-operation-id getToken --include-operation-id revokeToken
}

# tried EXCEPT : as many operations as the document has, but EXCEPT
tried() { tested $(($(jq '[.paths[] | keys[] | select(IN("get", "post", "put", "patch", "delete"))] | length' "$DIR/served.json") - $1)); }
tested() { tail -n 30 "$DIR/schemathesis.log"; grep -qE "^ *Tested: +$1$" "$DIR/schemathesis.log"; }

exercise() {
  local seconds=$1; shift
  # its cache and its database of examples stay out of the clone
  cd "$WORK" && timeout --kill-after=10 "$((seconds + 60))" "$ST" run "$HTTPS/api/v1/openapi.json" \
    --tls-verify "$ROOT_PEM" --header "Authorization: Bearer $TOKEN" --checks "$CHECKS" --seed 20261123 \
    --max-time "$seconds" --max-examples 40 --suppress-health-check all --warnings off --request-timeout 30 --request-retries 2 \
    --generation-database none --no-color "$@" | tee "$DIR/schemathesis.log"
}

# SQLite alone: the contract is the document's, and the engines' equality is held by tests/it
ENGINE=sqlite DIR="$WORK/sqlite" DATABASE_URL=
mkdir -p "$DIR"
contract
stop_server
ENGINE=
finish
