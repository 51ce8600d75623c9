#!/bin/bash
# 36 constrained CAs x 38 names: what our policy issues and refuses, judged by OpenSSL and webpki inside the test, and here
# by Go, Java and GnuTLS too. A judge that is missing is told as `skip`. Needs cargo; no server, no database.
. "$(dirname "$0")/lib.sh"

JUDGES=''
judge() { # NAME PROGRAM…
  local name=$1 program; shift
  for program in "$@"; do
    command -v "$program" >/dev/null || { skip "constraints judged by $name" "$program is not installed"; return; }
  done
  JUDGES="$JUDGES $name"
}

judge go go
judge java java javac
judge gnutls certtool
cd "$ROOT" || exit 1
check "constraints judged by openssl webpki$JUDGES" \
  env CHANCERY_JUDGES="$JUDGES" cargo test --quiet --test it -- pki::differential
finish
