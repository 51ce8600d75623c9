#!/bin/bash
# A real headless Chromium walks the dashboard over the server's own TLS: set-up by the one-time link, sign-in, issue
# from a pasted CSR, find, revoke; once more with JavaScript off. It trusts our root through an NSS database. The
# screenshots, light and dark, stay in tests/out/screenshots.
. "$(dirname "$0")/lib.sh"

SHOTS="$ROOT/tests/out/screenshots"

journey() {
  # the link names the port, so the port is chosen before the server starts
  HTTPS_AT="127.0.0.1:$(free_port)" HTTP_AT="127.0.0.1:$(free_port)"
  export CHANCERY_EXTERNAL_URL="https://localhost:${HTTPS_AT##*:}" CHANCERY_LISTEN="$HTTPS_AT"
  start_server || return
  LINK=$(chancery setup-link 2>"$WORK/setup.err")
  check "setup-link prints the link alone" grep -qE "^$CHANCERY_EXTERNAL_URL/setup#s_([0-9a-z]{4}-){4}[0-9a-z]{4}\$" <<<"$LINK"
  # Chromium reads the database of the home that it has
  export HOME="$DIR/home"
  mkdir -p "$HOME/.pki/nssdb"
  certutil -d "sql:$HOME/.pki/nssdb" -N --empty-password
  certutil -d "sql:$HOME/.pki/nssdb" -A -t C,, -n chancery-root -i "$ROOT_PEM"
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$DIR/web.key" -subj / \
    -addext subjectAltName=DNS:web.lab.example,DNS:www.lab.example -out "$DIR/web.csr" 2>"$WORK/openssl.log"
  mkdir -p "$SHOTS"
  orders
  SETUP_LINK="$LINK" BASE="$CHANCERY_EXTERNAL_URL" CSR="$DIR/web.csr" SHOTS="$SHOTS" ENGINE="$ENGINE" \
    ZONE="$ZONE" \
    timeout 600 /usr/bin/python3 "$CLIENTS/dashboard.py" 2>"$WORK/dashboard.err" | sed -u "s/^\(ok\|not ok\) /\1 $ENGINE: /"
  local status=${PIPESTATUS[0]}
  if [ "$status" -ne 0 ]; then not_ok "the browser's walk" "ended with $status"; tail -n 25 "$WORK/dashboard.err" | sed 's/^/    /'; fi
  check_fails "a second link is refused" "there is an administrator already" chancery setup-link
  check "user create makes a user from a password on stdin" create_user
  check "user list shows both" grep -qE '^carol.*auditor' <(chancery user list)
  unset CHANCERY_EXTERNAL_URL CHANCERY_LISTEN HTTPS_AT HTTP_AT
}

# What an operator looks at: an order that got its certificate, one that nobody answers for, and one that was refused.
orders() {
  bot() {
    REQUESTS_CA_BUNDLE=$ROOT_PEM certbot certonly --config-dir "$DIR/c" --work-dir "$DIR/w" --logs-dir "$DIR/l" -n \
      --server "$ACME" --agree-tos -m ops@lab.example --no-eff-email --preferred-challenges http "$@"
  }
  check "certbot obtains" bot --standalone --http-01-address 127.0.0.1 --http-01-port "$HTTP01_PORT" -d "shop.$ZONE"
  check_fails "certbot fails where nobody answers" . bot --manual --manual-auth-hook true -d "mute.$ZONE"
  check_fails "certbot is refused localhost" . bot --manual --manual-auth-hook true -d "web.localhost"
}

create_user() { echo 'a password for carol, quite long' | chancery user create carol --role auditor --password-file -; }

engines journey
finish
