#!/bin/bash
# README's first block of commands, word for word, in a clean clone with an empty HOME: the first one serves, the
# others run beside it. The compiled dependencies of this tree are shared, so that the world is not built twice.
. "$(dirname "$0")/lib.sh"

ENGINE=
HOME_BEFORE=$HOME

commands() {
  awk '/^```(sh|console|bash|shell)?$/ { if (inside) exit; inside = 1; next } inside' "$ROOT/README.md" |
    sed -e 's/^\$ //' -e 's/[[:space:]]*#.*$//' | grep -v '^$'
}

journey() {
  [ -f "$ROOT/README.md" ] || { skip readme "there is no README.md yet"; return; }
  mapfile -t lines < <(commands)
  check "README begins with the command that serves" grep -q 'cargo run --release -- serve' <<<"${lines[0]}" || return
  local port
  for port in 8443 8080 9464; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then skip readme "port $port is taken on this machine"; return; fi
  done

  check "a clean clone" git clone -q "$ROOT" "$WORK/clone" || return
  mkdir "$WORK/home"
  export CARGO_HOME="${CARGO_HOME:-$HOME_BEFORE/.cargo}" RUSTUP_HOME="${RUSTUP_HOME:-$HOME_BEFORE/.rustup}"
  export HOME="$WORK/home" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$ROOT/target}"
  unset XDG_DATA_HOME XDG_CONFIG_HOME STATE_DIRECTORY
  cd "$WORK/clone" || return
  check "it builds" cargo build --quiet --release --locked || return
  # the shell becomes cargo, and cargo becomes the server: one process to end
  bash -c "exec ${lines[0]}" >"$WORK/stdout" 2>"$WORK/receipt" &
  SERVER=$!
  PIDS+=("$SERVER")
  check "${lines[0]}" within 60 answers || { cat "$WORK/receipt"; return; }
  check "the receipt has at most 40 lines" test "$(grep -cv '^ *\(Compiling\|Finished\|Running\)' "$WORK/receipt")" -le 40
  check "the receipt names directory and fingerprint" grep -qE '/acme/default/directory' "$WORK/receipt"
  local line
  for line in "${lines[@]:1}"; do check "$line" bash -euo pipefail -c "$line"; done
  check "nothing is written into the clone but what the commands say" test -z "$(git status --porcelain --untracked-files=no)"
}
answers() { curl -fsSk -o /dev/null https://127.0.0.1:8443/acme/default/directory 2>/dev/null; }

journey
stop_server
finish
