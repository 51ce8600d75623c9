#!/bin/bash
# What deploy/ ships for one host: the systemd unit (read by systemd's own tools, its system calls against a trace of
# the server, the notify protocol against a manager) and the file system of the image, which the server runs in.
. "$(dirname "$0")/lib.sh"

DIR="$WORK/packaging"
DATABASE_URL=
UNIT="$ROOT/deploy/systemd/chancery.service"
MAX_EXPOSURE=15 # tenths; systemd calls 2.0 and less OK

unit() {
  command -v systemd-analyze >/dev/null || { skip "the unit" "systemd-analyze is not installed"; return; }
  mkdir -p "$DIR/unit"
  # the program and the user that the unit names are here only after an installation
  sed "s|^ExecStart=/usr/bin/chancery|ExecStart=$BIN|" "$UNIT" >"$DIR/unit/chancery.service"
  check "systemd-analyze verify finds nothing" silent systemd-analyze verify --man=no "$DIR/unit/chancery.service"
  check "its exposure is at most 1.5 of 10" systemd-analyze security --offline=yes --no-pager --threshold=$MAX_EXPOSURE "$DIR/unit/chancery.service"
  sed -i 's/^ProtectSystem=.*/ProtectSytem=strict/' "$DIR/unit/chancery.service"
  check_fails "and it would see a misspelt setting" 'ProtectSytem' silent systemd-analyze verify --man=no "$DIR/unit/chancery.service"
}

# silent COMMAND… : 0 when it says nothing at all.
silent() { local said; said=$("$@" 2>&1); echo "$said"; [ -z "$said" ]; }

# The server makes no system call that the unit's filter forbids, from its founding to its stop.
system_calls() {
  command -v strace >/dev/null && command -v systemd-analyze >/dev/null || { skip "the system call filter" "strace or systemd-analyze is missing"; return; }
  DIR="$DIR/calls" && mkdir -p "$DIR"
  # as a user without rights, as the service runs: SQLite chowns its files when it is root
  local user=()
  if [ "$(id -u)" -eq 0 ]; then
    user=(setpriv --reuid 65534 --regid 65534 --clear-groups)
    chmod 0711 "$WORK" "$WORK/packaging" && chown 65534 "$DIR" && cp "$BIN" "$DIR/chancery" && BIN="$DIR/chancery"
  fi
  printf '#!/bin/sh\nexec %s strace -f -qq -o %q %q "$@"\n' "${user[*]}" "$DIR/trace" "$BIN" >"$DIR/traced"
  chmod +x "$DIR/traced"
  BIN="$DIR/traced" start_server || return
  new_token && check "a certificate while it is traced" api POST certificates -H 'Content-Type: application/json' \
    -d "{\"names\":[\"web.$ZONE\"],\"profile\":\"tls-server\"}" -o "$DIR/issued.json"
  kill -TERM "$(pgrep -P "$SERVER")" && wait "$SERVER"
  SERVER=
  sed -nE 's/^[0-9]+ +([a-z_0-9]+)\(.*/\1/p' "$DIR/trace" | sort -u >"$DIR/made"
  { allowed @system-service; } | sort -u >"$DIR/yes"
  { allowed @privileged; allowed @resources; } | sort -u >"$DIR/no"
  check "more than 40 different calls were seen" test "$(wc -l <"$DIR/made")" -gt 40
  # systemd allows execve and friends by itself, and EPERM (not a kill) answers the rest
  comm -23 "$DIR/made" <(comm -23 "$DIR/yes" "$DIR/no") | grep -vxE "$(allowed @default | paste -sd'|')" >"$DIR/forbidden"
  check "the unit's filter allows every one" test -z "$(tr '\n' ' ' <"$DIR/forbidden" | tee "$WORK/forbidden")" ||
    sed 's/^/    /' "$WORK/forbidden"
}

# The calls of a set, sets within it too.
allowed() {
  systemd-analyze syscall-filter --no-pager "$1" | sed -nE 's/^ +([@a-z_0-9-]+)$/\1/p' | while read -r call; do
    case $call in @*) allowed "$call" ;; *) echo "$call" ;; esac
  done
}

notify() {
  DIR="$WORK/packaging/notify" && mkdir -p "$DIR"
  # what the manager hears, one message a line
  /usr/bin/python3 -c '
import os, socket, sys
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(sys.argv[1])
while True:
    print(manager.recv(4096).decode().replace("\n", " "), flush=True)' "$DIR/manager" >"$DIR/heard" &
  PIDS+=($!)
  within 30 test -S "$DIR/manager"
  NOTIFY_SOCKET="$DIR/manager" WATCHDOG_USEC=200000 start_server || return
  check "READY=1 comes when it serves" within 30 grep -q '^READY=1 STATUS=listening on' "$DIR/heard"
  check "signs of life go on" within 30 beats 4
  stop_server
  check "STOPPING=1 comes at SIGTERM" within 30 grep -q '^STOPPING=1' "$DIR/heard"
  check "READY=1 came once" test "$(grep -c '^READY=1' "$DIR/heard")" -eq 1
}
beats() { [ "$(grep -c '^WATCHDOG=1' "$DIR/heard")" -ge "$1" ]; }

# The image's file system as deploy/image-root.sh lays it out, and the server as its user in it.
image() {
  DIR="$WORK/packaging/image" && mkdir -p "$DIR"
  local image="$DIR/root"
  check "what the image copies is laid out" "$ROOT/deploy/image-root.sh" "$BIN" "$image" || return
  check "it carries our licence and those of every crate and library in it" licences "$image/usr/share/doc/chancery"
  check "no shell, no package manager: one program" test "$(find "$image" -type f -perm -u+x ! -name '*.so*' -printf '%P ')" = "usr/local/bin/chancery "
  check "the Dockerfile copies just that, on nothing" dockerfile
  [ "$(id -u)" -eq 0 ] || { skip "the server in the image's file system" "chroot needs root"; return; }
  local https http ops
  https=$(free_port) http=$(free_port) ops=$(free_port)
  touch "$DIR/laid-out"
  env -i CHANCERY_DATA=/var/lib/chancery CHANCERY_LISTEN="127.0.0.1:$https" CHANCERY_LISTEN_HTTP="127.0.0.1:$http" \
    CHANCERY_LISTEN_OPS="127.0.0.1:$ops" /usr/sbin/chroot --userspec=65532:65532 "$image" /usr/local/bin/chancery serve >"$DIR/log" 2>&1 &
  SERVER=$!
  PIDS+=("$SERVER")
  check "it serves in there as user 65532" within 30 curl -fsS -o "$DIR/root.pem" "http://127.0.0.1:$http/root.pem" || sed 's/^/    /' "$DIR/log"
  check "and is ready" within 30 curl -fsS "http://127.0.0.1:$ops/readyz"
  check "it wrote in its data directory alone" test -z "$(find "$image" -newer "$DIR/laid-out" -type f ! -path "$image/var/lib/chancery/*")"
  check "its command line works in there" env -i CHANCERY_DATA=/var/lib/chancery /usr/sbin/chroot --userspec=65532:65532 "$image" /usr/local/bin/chancery ca list
  stop_server
}

# licences FOLDER : every crate that cargo links is named with a licence.
licences() {
  cmp "$ROOT/LICENSE" "$1/LICENSE" && [ -s "$1/libc6.copyright" ] || { echo "LICENSE or the C library's copyright is missing"; return 1; }
  (cd "$ROOT" && cargo tree --locked -e normal --prefix none --format '{p}') | awk 'NF > 1 && $1 != "chancery" { sub(/^v/, "", $2); print $1, $2 }' |
    sort -u >"$DIR/crates"
  [ "$(wc -l <"$DIR/crates")" -gt 100 ] || { echo "cargo named few crates"; return 1; }
  grep -A1 -xFf "$DIR/crates" "$1/THIRD-PARTY-NOTICES" | grep -c '^Licence: .' >"$DIR/licensed"
  [ "$(cat "$DIR/licensed")" -ge "$(wc -l <"$DIR/crates")" ] || { echo "$(cat "$DIR/licensed") of $(wc -l <"$DIR/crates") crates have a licence"; return 1; }
}

# deploy/image.sh with an engine that writes down what it is asked for.
recipe() {
  DIR="$WORK/packaging/recipe" && mkdir -p "$DIR/deploy" "$DIR/bin"
  cp "$ROOT/deploy/image.sh" "$ROOT/deploy/Dockerfile" "$DIR/deploy/" && cp "$ROOT/Cargo.toml" "$DIR/"
  local digest version
  digest="sha256:$(printf 'a%.0s' {1..64})"
  version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$ROOT/Cargo.toml" | head -n 1)
  printf '#!/bin/sh\necho "$*" >>%q\n[ "$1 $2" != "image inspect" ] || echo "x@%s"\n' "$DIR/asked" "$digest" >"$DIR/bin/engine"
  chmod +x "$DIR/bin/engine"
  check "it builds, tags and pushes" test "$(ENGINE="$DIR/bin/engine" "$DIR/deploy/image.sh" registry.test/chancery push 2>"$DIR/log" | tail -n 1)" = "x@$digest"
  check "on the base image by its digest" grep -q "^build .*-t registry.test/chancery:$version .*BUILD_IMAGE=rust:[^ ]*@$digest" "$DIR/asked"
  check "and pushes what it tagged" grep -qx "push registry.test/chancery:$version" "$DIR/asked"
  : >"$DIR/asked"
  ENGINE="$DIR/bin/engine" "$DIR/deploy/image.sh" registry.test/chancery >"$DIR/log" 2>&1
  check "a digest that is written down is not asked for again" test -z "$(grep '^pull' "$DIR/asked")"
  check "the repository names the base image of the Dockerfile by its digest" test "$(sed -n 's/^ARG BUILD_IMAGE=//p' "$ROOT/deploy/Dockerfile")" = "$(sed 's/@sha256:[0-9a-f]\{64\}$//' "$ROOT/deploy/base-images")"
  check_fails "another word is refused" 'neither push nor refresh' "$DIR/deploy/image.sh" registry.test/chancery publish
}

# chancery-on-host hands a command to the manager as the unit describes the service; a stand-in for the manager does what
# systemd.exec(5) says of those properties.
on_host() {
  DIR="$WORK/packaging/on-host" && mkdir -p "$DIR/bin" "$DIR/state"
  cat >"$DIR/bin/systemd-run" <<'END'
#!/bin/bash
environment=(PATH=/usr/bin:/bin HOME=/nonexistent)
while [ "$1" != -- ]; do
  case $1 in
    --property=EnvironmentFile=*) file=${1#*File=}; file=$STAND_IN/$(basename "${file#-}"); [ ! -e "$file" ] || mapfile -t -O "${#environment[@]}" environment <"$file" ;;
    --property=StateDirectory=*) environment+=("STATE_DIRECTORY=$STAND_IN/state") ;;
  esac
  shift
done
[ "$2" = /usr/bin/chancery ] && exec env -i "${environment[@]}" "$STAND_IN_BIN" "${@:3}"
END
  chmod +x "$DIR/bin/systemd-run"
  local line
  for line in User Group StateDirectory StateDirectoryMode EnvironmentFile UMask; do
    check "it has the unit's $line" grep -qF -- "--property=$(grep "^$line=" "$UNIT")" "$ROOT/deploy/systemd/chancery-on-host"
  done
  check "the unit says to use it" grep -qx '#   chancery-on-host doctor' "$UNIT"
  # the database of the service is elsewhere, as its environment file says
  echo "CHANCERY_DATABASE_URL=sqlite://$DIR/service.db" >"$DIR/chancery.env"
  check "an installation of the service" env -i STATE_DIRECTORY="$DIR/state" CHANCERY_DATABASE_URL="sqlite://$DIR/service.db" "$BIN" init
  # it asks who answers at this host's 8443
  take_usual_ports
  check "doctor looks at it" env PATH="$DIR/bin:$PATH" STAND_IN="$DIR" STAND_IN_BIN="$BIN" "$ROOT/deploy/systemd/chancery-on-host" doctor
  leave_usual_ports
  check "and makes no database of its own" test ! -e "$DIR/state/chancery.db"
}

# What deploy/kubernetes says of metrics and of a CA for the database.
manifests() {
  check "a Service leads to the metrics of each Deployment, whether its pods are ready or not" /usr/bin/python3 - "$ROOT" <<'END'
import pathlib, sys, yaml
folder = pathlib.Path(sys.argv[1]) / "deploy" / "kubernetes"
objects = [o for f in sorted(folder.glob("*.yaml")) for o in yaml.safe_load_all(f.read_text())]
def name(o): return o["metadata"]["name"]
[policy] = [o for o in objects if o["kind"] == "NetworkPolicy"]
[ops] = [rule for rule in policy["spec"]["ingress"] if rule["ports"] == [{"port": "ops"}]]
assert ops["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
chosen = policy["spec"]["podSelector"]["matchExpressions"][0]["values"]
deployments = [o for o in objects if o["kind"] == "Deployment"]
assert {name(d) for d in deployments} == set(chosen)
for deployment in deployments:
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    services = [o for o in objects if o["kind"] == "Service" and o["spec"]["selector"] == labels]
    [metrics] = [s for s in services if any(p["targetPort"] == "ops" for p in s["spec"]["ports"])]
    assert metrics["spec"]["publishNotReadyAddresses"] and ports["ops"] == 9464, name(metrics)
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    [secret] = [v["secret"] for v in pod["volumes"] if v["name"] == "database-ca"]
    assert secret["optional"] and secret["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
    assert f"sslrootcert={mounts['database-ca']}/ca.crt" in (folder / "README.md").read_text()
END
}

dockerfile() {
  local last
  last=$(sed -n '/^FROM scratch/,$p' "$ROOT/deploy/Dockerfile")
  [ "$(grep -cE '^(COPY|ADD|RUN)' <<<"$last")" -eq 1 ] && grep -qx 'COPY --from=build /image/ /' <<<"$last" &&
    grep -qx 'RUN sh deploy/image-root.sh target/release/chancery /image' "$ROOT/deploy/Dockerfile"
}

# Two replicas with the very environment of deploy/kubernetes, on this machine's Postgres: the database is founded
# before, and each starts on an empty directory with the unlock key alone.
replicas() {
  [ -n "${CHANCERY_TEST_POSTGRES_URL:-}" ] || { skip "the replicas of deploy/kubernetes" "CHANCERY_TEST_POSTGRES_URL is not set"; return; }
  DIR="$WORK/packaging/replicas" && mkdir -p "$DIR"
  new_database || { not_ok "a database of its own" "psql failed"; return; }
  local status_at; status_at="http://127.0.0.1:$(free_port)"
  check "init, on the machine that keeps the root's key" env CHANCERY_DATABASE_URL="$DATABASE_URL" "$BIN" init \
    --data "$DIR/founder" --external-url https://ca.example --status-url "$status_at" || return
  install -m 0440 "$DIR/founder/unlock.key" "$DIR/unlock-key"
  replica one "$status_at" chancery && replica two "$status_at" chancery && replica status "$status_at" chancery-status || return
  TOKEN=$(env CHANCERY_DATA="$DIR/one" CHANCERY_UNLOCK_KEY="$DIR/unlock-key" CHANCERY_DATABASE_URL="$DATABASE_URL" \
    "$BIN" token create --name replicas --role operator 2>"$WORK/token.log") || not_ok "token create" "$(cat "$WORK/token.log")"
  check "one issues" of one POST certificates -H 'Content-Type: application/json' -d "{\"names\":[\"web.$ZONE\"],\"profile\":\"tls-server\"}" -o "$DIR/web.json"
  check "two knows it" of two GET "certificates/$(jq -r .id "$DIR/web.json")"
  check "the replicas for status serve the root's CRL" test "$(curl -sS -o /dev/null -w '%{http_code}' "http://127.0.0.1:$(cat "$DIR/status.http")/crl/tls-root.crl")" = 200
  check "no replica holds the root's key" test -z "$(find "$DIR/one" "$DIR/two" "$DIR/status" -name root.key)"
  check "a replica needs less than the volume has" test "$(du -sk "$DIR/one" | cut -f1)" -lt 1024
  local each
  for each in one two status; do SERVER=$(cat "$DIR/$each.pid") stop_server; done
  DATABASE_URL=
}

# replica NAME STATUS_URL DEPLOYMENT : starts one and waits until its readiness probe passes.
replica() {
  local name=$1 deployment=$3 https http ops
  https=$(free_port) http=$(free_port) ops=$(free_port)
  mkdir -p "$DIR/$name"
  mapfile -t settings < <("$CLIENTS/manifests.py" "$deployment" environment | sed -e "s|=/var/lib/chancery$|=$DIR/$name|" \
    -e "s|/run/secrets/chancery/unlock-key|$DIR/unlock-key|" -e "s|\[::\]:8443|127.0.0.1:$https|" -e "s|\[::\]:8080|127.0.0.1:$http|" \
    -e "s|\[::\]:9464|127.0.0.1:$ops|" -e "s|http://ca.example$|$2|" -e "s|secret:chancery-database/url|$DATABASE_URL|")
  mapfile -t arguments < <("$CLIENTS/manifests.py" "$deployment" arguments)
  env -i "${settings[@]}" "$BIN" "${arguments[@]}" >"$DIR/$name.log" 2>&1 &
  PIDS+=($!)
  echo $! >"$DIR/$name.pid"
  echo "$https" >"$DIR/$name.https"
  echo "$http" >"$DIR/$name.http"
  check "replica $name passes its readiness probe" within 30 curl -fsS -o /dev/null "http://127.0.0.1:$ops$("$CLIENTS/manifests.py" "$deployment" probe readinessProbe)" ||
    { sed 's/^/    /' "$DIR/$name.log"; return 1; }
  check "and its liveness probe" curl -fsS -o /dev/null "http://127.0.0.1:$ops$("$CLIENTS/manifests.py" "$deployment" probe livenessProbe)"
  curl -fsS -o "$DIR/root.pem" "http://127.0.0.1:$http/root.pem"
}

# of REPLICA METHOD PATH … : REST at one replica, by the external name.
of() {
  local name=$1 method=$2 path=$3; shift 3
  curl -sS --fail-with-body --cacert "$DIR/root.pem" --connect-to "ca.example:443:127.0.0.1:$(cat "$DIR/$name.https")" \
    -X "$method" -H "Authorization: Bearer $TOKEN" "$@" "https://ca.example/api/v1/$path"
}

mkdir -p "$DIR"
unit
(system_calls; finish) || BAD=1
notify
image
recipe
on_host
manifests
replicas
skip "docker build" "no container engine here: the recipe's steps were run one by one instead"
finish
