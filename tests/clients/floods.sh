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
  SAW=$(timeout 100 /usr/bin/python3 "$CLIENTS/floods.py" "$1" "${HTTPS##*:}" "${HTTP##*:}" "$ROOT_PEM" "$SERVER" 2>"$WORK/flood.err") ||
    { not_ok "$1: the flood ran" "$(tail -n 3 "$WORK/flood.err")"; return 1; }
  echo "# $1: $SAW"
}
# saw NAME FILTER : ok when jq finds it true of what the flood saw.
saw() {
  if jq -e "$2" <<<"$SAW" >/dev/null; then ok "$1"; else not_ok "$1" "$SAW"; fi
}

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
  printf 'violet harbour nine\n' | chancery user create boss --role admin --password-file - >"$WORK/user.log" 2>&1 ||
    not_ok "user create" "$(cat "$WORK/user.log")"
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
  check "its memory is back under 100 MiB within 30 s" within 30 below 100
  echo "# resident at the end: $(resident) MiB"
}

ENGINE=sqlite DIR="$WORK/sqlite" DATABASE_URL=
mkdir -p "$DIR"
body
stop_server
drop_group
finish
