#!/bin/bash
# README's first block of commands, word for word, in a clean clone with an empty HOME: the first one serves, the
# others run beside it. What this tree has compiled is shared: in a mount namespace the clone stands where this tree
# stands, so that cargo compiles only those files of the clone that differ.
if [ -z "${CHANCERY_TEST_NAMESPACE:-}" ] && [ "$(id -u)" -eq 0 ] && unshare -m true 2>/dev/null; then
  CHANCERY_TEST_NAMESPACE=1 exec unshare -m --propagation private "$0"
fi
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
  in_place "$WORK/clone" || { not_ok "the clone stands in this tree's place" "mount failed"; return; }
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
# in_place CLONE : goes there; in a namespace of our own the clone covers this tree, which keeps its target directory.
in_place() {
  local file
  while IFS= read -r file; do
    if cmp -s "$ROOT/$file" "$1/$file"; then touch -r "$ROOT/$file" "$1/$file"; fi
  done < <(git -C "$1" ls-files)
  if [ -n "${CHANCERY_TEST_NAMESPACE:-}" ] && [ "$CARGO_TARGET_DIR" = "$ROOT/target" ]; then
    local target
    target=$(mktemp -d) && mount --bind "$ROOT/target" "$target" && mkdir "$1/target" && mount --bind "$1" "$ROOT" || return
    # onto the covering mount alone: seen from $WORK the directory is empty, and cleaning up removes nothing else
    mount --bind "$target" "$ROOT/target" && umount "$target" && rmdir "$target" && cd "$ROOT" || return
  else
    cd "$1" || return
  fi
}
answers() { curl -fsSk -o /dev/null https://127.0.0.1:8443/acme/default/directory 2>/dev/null; }

# The indented lines of a section, a command each; `sudo` is left out, for this runs as root, and `eab_…` is the key that the
# line before made.
section() {
  awk -v want="## $1" '/^## / { inside = $0 == want; next } inside && /^    /' "$ROOT/README.md" |
    sed -e 's/^    //' -e 's/^sudo //' -e 's/ *    #.*$//' -e 's/eab_…/$(chancery acme eab list -o name)/' | sed -e ':a' -e '/\\$/ { N; s/\\\n *//; ba' -e '}'
}

# What README says to an ACME client and to a script, as it stands there: ca.lab.example and web.lab.example are this
# machine, in a mount namespace of its own and in a DNS of its own.
clients() {
  local port line
  [ "$(id -u)" -eq 0 ] && unshare -m true 2>/dev/null || { skip "README's client lines" "they need root and a mount namespace"; return; }
  command -v certbot >/dev/null && command -v lego >/dev/null || { skip "README's client lines" "certbot or lego is missing"; return; }
  for port in 80 8443 8080 9464; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then skip "README's client lines" "port $port is taken"; return; fi
  done
  ZONE=lab.example DIR="$WORK/clients" DATABASE_URL= HTTP01_PORT=80
  HTTPS_AT=127.0.0.1:8443 HTTP_AT=127.0.0.1:8080 OPS_AT=127.0.0.1:9464
  mkdir -p "$DIR/bin" "$DIR/work" && ln -s "$BIN" "$DIR/bin/chancery"
  export CHANCERY_EXTERNAL_URL=https://ca.lab.example:8443 CHANCERY_DATA="$DIR/data" PATH="$DIR/bin:$PATH"
  start_server || return
  { cat /etc/hosts; echo "127.0.0.1 ca.lab.example web.lab.example"; } >"$DIR/hosts"
  while IFS= read -r line; do
    check "$line" unshare -m bash -euc "mount --bind '$DIR/hosts' /etc/hosts; mkdir -p '$DIR/etc' '$DIR/lib' '$DIR/log' /etc/letsencrypt /var/lib/letsencrypt /var/log/letsencrypt
      mount --bind '$DIR/etc' /etc/letsencrypt; mount --bind '$DIR/lib' /var/lib/letsencrypt; mount --bind '$DIR/log' /var/log/letsencrypt
      cd '$DIR/work'; set -o pipefail; $line"
  done < <(section "With an ACME client"; section "With a script"; section "Separate trust"; day_by_day)
}

# The table's first column, where a line is a command that needs no name of its own.
day_by_day() {
  awk '/^## / { inside = $0 == "## Day by day" } inside && /^\| `chancery/' "$ROOT/README.md" | cut -d'|' -f2 |
    grep -o '`[^`]*`' | tr -d '`' | grep -v 'inspect X' | grep -v '^chancery revoke'
  echo "chancery revoke web.lab.example.crt --reason keyCompromise"
}

take_usual_ports
journey
stop_server
clients
stop_server
leave_usual_ports
finish
