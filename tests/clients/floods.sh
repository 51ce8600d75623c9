#!/bin/bash
# Floods of one address against a server that has 512 MiB: sign-ins, half-sent bodies, connections that stay open. The
# server lives, gives the memory back, and a quiet client of another address is served all the while. Loopback only.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
ulimit -n "$(ulimit -Hn)" 2>/dev/null
LIMIT=$((512 << 20))
GROUP=

# The server runs in a control group of its own where the machine lets us make one; else its memory is sampled.
make_group() {
  local name="chancery-floods-$$"
  if [ -w /sys/fs/cgroup/cgroup.controllers ] && mkdir "/sys/fs/cgroup/$name" 2>/dev/null; then
    GROUP="/sys/fs/cgroup/$name"
    echo "$LIMIT" >"$GROUP/memory.max" 2>/dev/null && return
  elif mkdir "/sys/fs/cgroup/memory/$name" 2>/dev/null; then
    GROUP="/sys/fs/cgroup/memory/$name"
    echo "$LIMIT" >"$GROUP/memory.limit_in_bytes" 2>/dev/null && return
  fi
  drop_group
  echo "# no control group can be made here: the server's resident memory is sampled instead"
}
drop_group() {
  [ -z "$GROUP" ] || rmdir "$GROUP" 2>/dev/null
  GROUP=
}
trap 'stop_server; drop_group; cleanup' EXIT

resident() { awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$SERVER/status"; }
below() { [ "$(resident)" -lt "$1" ]; }
serving() { curl -fsS --max-time 5 --cacert "$ROOT_PEM" --interface 127.0.0.2 -o /dev/null "$HTTPS/livez"; }

# flood PHASE : runs it and shows what it saw.
flood() {
  SAW=$(timeout 100 /usr/bin/python3 "$CLIENTS/floods.py" "$1" "${HTTPS##*:}" "${HTTP##*:}" "$ROOT_PEM" "$SERVER" ${2:+"$2"} 2>"$WORK/flood.err") ||
    { not_ok "$1: the flood ran" "$(tail -n 3 "$WORK/flood.err")"; return 1; }
  echo "# $1: $SAW"
}
# saw NAME FILTER : ok when jq finds it true of what the flood saw.
saw() {
  if jq -e "$2" <<<"$SAW" >/dev/null; then ok "$1"; else not_ok "$1" "$SAW"; fi
}

user() {
  printf 'violet harbour nine\n' | chancery user create "$1" --role "$2" --password-file - >"$WORK/user.log" 2>&1 ||
    not_ok "user create $1" "$(cat "$WORK/user.log")"
}

# sign_in FILE NAME COOKIES : the status, with the cookies kept in FILE.
sign_in() {
  curl -sS --max-time 30 --cacert "$ROOT_PEM" --interface 127.0.0.8 -o "$WORK/page.html" -w '%{http_code}' -b "$1" -c "$1" \
    -H 'Sec-Fetch-Site: same-origin' -H 'Accept: text/html' "${@:2}"
}

# A browser that is not known, as nobody has a cookie for it: the link that the host makes lets it in.
by_link() {
  local link
  link=$(chancery user sign-in-link boss 2>/dev/null)
  [[ $link == https://*/sign-in-link#s_* ]] || { not_ok "user sign-in-link prints a link" "$link"; return; }
  check "attack: the link makes a new browser known" test "$(sign_in "$WORK/jar" --data-urlencode "link=$link" "$HTTPS/sign-in-link")" = 303
  check "attack: and its user signs in there" test "$(sign_in "$WORK/jar" -d name=boss --data-urlencode 'password=violet harbour nine' "$HTTPS/sign-in")" = 303
  check "attack: the link works once" test "$(sign_in "$WORK/jar2" --data-urlencode "link=$link" "$HTTPS/sign-in-link")" = 403
}

audited() { chancery audit list --limit 500 -o json 2>/dev/null | jq '[.items[] | select(.action | test("refused"))] | length'; }

body() {
  make_group
  local binary=$BIN
  if [ -n "$GROUP" ]; then
    printf '#!/bin/bash\necho $$ >"%s/cgroup.procs"\nexec "%s" "$@"\n' "$GROUP" "$BIN" >"$WORK/in-group"
    chmod +x "$WORK/in-group"
    BIN="$WORK/in-group"
  fi
  start_server || return
  BIN=$binary
  user boss admin
  user carol viewer
  flood first || return
  local device=$SAW
  echo "# resident at the start: $(resident) MiB"

  local phase
  for phase in sign-ins forms; do
    if flood "$phase"; then
      saw "$phase: a quiet client of another address is served within 5 s" '.failed == [] and .worst < 5 and .asked > 1'
      saw "$phase: the server stays within 512 MiB" '.peak > 0 and .peak < 480'
    fi
    check "$phase: the server lives" serving || return
  done
  if flood idle; then
    for listener in https http; do
      saw "idle connections: a quiet client is served by $listener within 5 s" ".$listener | .failed == [] and .worst < 5 and .asked > 5"
      saw "idle connections: $listener stays within 512 MiB" ".$listener | .peak > 0 and .peak < 480"
    done
  fi
  check "idle connections: the server lives" serving
  if flood attack "$device"; then
    saw "attack: at least 50 wrong passwords a second arrive" '.rate >= 50'
    saw "attack: the browser that signed in before is let in within 5 s, each time" '(.known | length) >= 5 and all(.known[]; .[0] == 303 and .[1] < 5)'
    saw "attack: a right password of another account from a quiet address is let in" '(.new | length) == 2 and all(.new[]; .[0] == 303 and .[1] < 20)'
    saw "attack: after a hundred failures a browser that is not known is refused" '.closed[0][0] == 401'
    local refusals
    refusals=$(audited)
    check "attack: the audit has $refusals refusals of it, not a thousand" test "$refusals" -gt 0 -a "$refusals" -lt 60
  fi
  by_link
  check "its memory is back under 100 MiB within 30 s" within 30 below 100
  echo "# resident at the end: $(resident) MiB"
}

ENGINE=sqlite DIR="$WORK/sqlite" DATABASE_URL=
mkdir -p "$DIR"
body
stop_server
drop_group
finish
