#!/usr/bin/env python3
"""Types every example of every help page, and every command of the receipt, as they stand there, against a real server
on its usual ports. Namespaces of our own: names, ports and /etc of this machine stay as they are.

Prints `ok …`, `not ok …`, `skip …`; exits with 1 when something failed."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

BIN = os.environ.get("CHANCERY_TEST_BIN") or os.path.join(os.path.dirname(__file__), "../../target/release/chancery")
BIN = os.path.abspath(BIN)
bad = 0


def enter_namespaces():
    if os.environ.get("CHANCERY_TEST_NAMESPACE"):
        return
    if os.geteuid() != 0:
        print("skip help: namespaces of our own need root")
        sys.exit(0)
    if subprocess.run(["unshare", "-mn", "true"], capture_output=True).returncode != 0:
        print("skip help: this machine allows no namespaces")
        sys.exit(0)
    os.environ["CHANCERY_TEST_NAMESPACE"] = "1"
    os.execvp("unshare", ["unshare", "-mn", "--propagation", "private", sys.executable, os.path.abspath(__file__)])


def say(held, name, why=""):
    global bad
    if held:
        print(f"ok {name}", flush=True)
    else:
        bad = 1
        print(f"not ok {name}: {why}", flush=True)


class World:
    """An empty home, a copy of /etc, the names of the examples, and `chancery` and `sudo` on the path."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="chancery-help.")
        self.server = None
        for part in ("bin", "home", "work", "etc", "anchors"):
            os.mkdir(self.path(part))
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run(["cp", "-a", "/etc/.", self.path("etc")], check=True)
        subprocess.run(["mount", "--bind", self.path("etc"), "/etc"], check=True)
        anchors = "/usr/local/share/ca-certificates"
        os.makedirs(anchors, exist_ok=True)
        subprocess.run(["mount", "--bind", self.path("anchors"), anchors], check=True)
        with open("/etc/hosts", "a") as hosts:
            hosts.write("".join(f"127.0.0.1 {name}.lab.example\n" for name in ("ca", "web", "db")))
        os.symlink(BIN, self.path("bin/chancery"))
        self.script("sudo", 'exec env "$@"')
        # an editor that changes something: the way nano is called, without its screen
        self.script("nano", """sed -i 's/"description": *"/&Edited. /' "$1" """)
        self.environment = {
            "PATH": self.path("bin") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": self.path("home"),
            "LANG": "C.UTF-8",
            "MANPAGER": "cat",
        }

    def path(self, name):
        return os.path.join(self.dir, name)

    def script(self, name, text):
        with open(self.path("bin/" + name), "w") as file:
            file.write("#!/bin/sh\n" + text + "\n")
        os.chmod(self.path("bin/" + name), 0o755)

    def run(self, command, **more):
        return subprocess.run(
            ["bash", "-c", command], cwd=self.path("work"), env={**self.environment, **more},
            capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
        )

    def must(self, command):
        done = self.run(command)
        if done.returncode != 0:
            raise SystemExit(f"not ok preparing: {command}: {done.stderr[-2000:]}{done.stdout[-500:]}")
        return done.stdout

    def json(self, command):
        return json.loads(self.must(command + " -o json"))

    def file(self, name, text):
        with open(self.path("work/" + name), "w") as file:
            file.write(text)

    def start(self, command):
        """Runs a command that serves until it is ready; what it printed."""
        self.log = open(self.path("serve.log"), "w+")
        self.server = subprocess.Popen(
            ["bash", "-c", "exec " + command], cwd=self.path("work"), env=self.environment,
            stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )
        until = time.monotonic() + 60
        while "listening on" not in self.printed():
            if self.server.poll() is not None or time.monotonic() > until:
                return None
            time.sleep(0.1)
        return self.printed()

    def printed(self):
        with open(self.path("serve.log")) as file:
            return file.read()

    def stop(self):
        if self.server:
            self.server.send_signal(signal.SIGTERM)
            try:
                self.server.wait(30)
            except subprocess.TimeoutExpired:
                self.server.kill()
            self.server = None

    def end(self):
        self.stop()
        for place in ("/usr/local/share/ca-certificates", "/etc"):
            subprocess.run(["umount", "-l", place])
        shutil.rmtree(self.dir, ignore_errors=True)


def pages(world, words=()):
    """Every page by its words, with its examples."""
    page = world.must(" ".join(("chancery",) + words + ("--help",)))
    found = {" ".join(words): examples_of(page)}
    listed = re.search(r"^Commands:\n((?:  .*\n)+)", page, re.M)
    for line in listed.group(1).splitlines() if listed else []:
        command = re.match(r"  ([a-z][a-z0-9-]*)(?:  |$)", line)
        if command:
            found.update(pages(world, words + (command.group(1),)))
    return found


def examples_of(page):
    text = re.search(r"^Examples:\n((?:  .*\n?)+)", page, re.M)
    return [line.strip() for line in text.group(1).splitlines()] if text else []


class Journey:
    """The examples in an order in which each works; what an example needs is made before it."""

    def __init__(self, world, found):
        self.world = world
        self.found = found
        self.typed = set()

    def page(self, *names, works=lambda done: done.returncode == 0, **replaced):
        for name in names:
            for example in self.found[name]:
                self.example(name, example, works, **replaced)

    def example(self, name, example, works=lambda done: done.returncode == 0, **replaced):
        self.typed.add((name, example))
        command = example
        for before, after in replaced.items():
            command = command.replace(before + "_…", after)
        if "hex" in replaced:
            command = re.sub(r"\b[0-9a-f]{4}…", replaced["hex"], command)
        if "…" in command:
            say(False, example, "nothing stands for the …")
            return None
        done = self.world.run(command)
        say(works(done), f"{name or 'chancery'}: {example}", f"exit {done.returncode}: {done.stderr.strip()[-600:]} {done.stdout[-200:]}")
        return done

    def untyped(self):
        return [(page, line) for page, lines in self.found.items() for line in lines if (page, line) not in self.typed]


def receipt_commands(world, receipt):
    """What the receipt of the first start says to do next, as it stands there; the root is trusted with a yes."""
    commands = re.findall(r"  (chancery [^`\n]+)$", receipt, re.M) + re.findall(r"`(chancery [^`]+)`", receipt)
    say(len(commands) > 4, "the receipt says what to do next", receipt)
    for command in commands:
        command = command.strip()
        if "trust install" in command:
            command += " --store system --yes"
        done = world.run(command)
        say(done.returncode in ((0, 10) if command.endswith("doctor") else (0,)), f"receipt: {command}", done.stderr[-600:])


def serving(journey, page):
    world = journey.world
    for example in journey.found[page]:
        journey.typed.add((page, example))
        say(world.start(example) is not None, f"{page}: {example}", world.printed()[-800:])
        world.stop()


def openssl_files(world):
    """CSRs, and a CA of others, as openssl makes them; a password in a file."""
    world.must("""
echo 'for Windows' > p12.password
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout web.key -subj /CN=web.lab.example -addext subjectAltName=DNS:web.lab.example -out web.csr
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout stolen.key -subj /CN=web.lab.example -addext subjectAltName=DNS:web.lab.example -out stolen-too.csr
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout stolen2.key -subj /CN=web.lab.example -out stolen.csr
for name in old older partner-root corporate-root; do
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 900 -keyout $name.key -subj "/O=Lab/CN=$name" -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign -out $name.pem
done
mv old.pem old-ca.pem; mv old.key old-ca.key
printf secret-of-the-file > old-ca.password
openssl pkcs12 -export -inkey older.key -in older.pem -passout file:old-ca.password -out old-ca.p12
mkdir -p issued /etc/easy-rsa/pki/issued
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout h.key -subj /CN=h.lab.example -addext subjectAltName=DNS:h.lab.example -out h.csr
openssl x509 -req -in h.csr -CA old-ca.pem -CAkey old-ca.key -set_serial 0x2a51 -days 300 -copy_extensions copy -out issued/h.crt
cp issued/h.crt /etc/easy-rsa/pki/issued/h.crt
printf 'V\\t%s\\t\\t2A51\\tunknown\\t/CN=h.lab.example\\n' "$(date -u -d '+300 days' +%y%m%d%H%M%SZ)" | tee index.txt > /etc/easy-rsa/pki/index.txt
printf 'a long password of alice 1' > alice.password
printf x > ci.token
printf '' > chancery.toml
""")


def corporate(world):
    """The corporate root signs corp.csr, and publishes a CRL."""
    world.must("""
printf 'basicConstraints=critical,CA:TRUE,pathlen:0\\nkeyUsage=critical,keyCertSign,cRLSign\\nsubjectKeyIdentifier=hash\\nauthorityKeyIdentifier=keyid\\n' > ca.ext
openssl x509 -req -in corp.csr -CA corporate-root.pem -CAkey corporate-root.key -set_serial 0x10e1 -days 600 -extfile ca.ext -out corp.pem
mkdir -p corporate; : > corporate/index.txt; echo 1000 > corporate/crlnumber
printf '[ca]\\ndefault_ca=c\\n[c]\\ndatabase=corporate/index.txt\\ncrlnumber=corporate/crlnumber\\ndefault_md=sha256\\ndefault_crl_days=30\\ncrl_extensions=e\\n[e]\\nauthorityKeyIdentifier=keyid\\n' > corporate/ca.cnf
openssl ca -config corporate/ca.cnf -gencrl -keyfile corporate-root.key -cert corporate-root.pem -out corporate-root.crl
""")


def client(world):
    """certbot as an ACME client under an external account key: its account and its order."""
    key = world.json("chancery acme eab create --name journey --allow-name web.lab.example")
    kid = key.get("kid") or key["id"]
    hmac = next(value for name, value in key.items() if "hmac" in name)
    world.must("chancery ca show tls-root -o json > root.json; curl -fsS -o root.pem http://ca.lab.example:8080/root.pem")
    world.must(
        f"REQUESTS_CA_BUNDLE=root.pem certbot certonly -n --standalone --agree-tos -m ops@lab.example -d web.lab.example"
        f" --server https://ca.lab.example:8443/acme/default/directory --eab-kid {kid} --eab-hmac-key {hmac}"
        f" --config-dir certbot --work-dir certbot/work --logs-dir certbot/logs"
    )
    account = world.json("chancery acme accounts list")["items"][0]["id"]
    order = world.json("chancery acme orders list")["items"][0]["id"]
    return kid, account, order


def journey(world):
    found = pages(world)
    bare = [page for page, lines in found.items() if not lines]
    say(not bare, "every page has an example", ", ".join(bare))
    go = Journey(world, found)
    openssl_files(world)
    first, second = (go.example("init", example) for example in found["init"])
    go.page("migrate")
    serving(go, "serve")
    receipt = world.start("chancery serve --external-url https://ca.lab.example:8443 --status-url http://ca.lab.example:8080")
    go.typed.add(("", "chancery serve"))
    say(receipt is not None, "the server starts once more", world.printed()[-800:])

    receipt_commands(world, first.stdout + first.stderr)
    world.must("rm web.lab.example.*")
    for example in found[""]:
        if example != "chancery serve":
            go.example("", example, lambda done: done.returncode in (0, 10))
    world.must("rm web.lab.example.*; chancery trust uninstall --store system --yes")
    for token in world.json("chancery token list")["items"]:
        world.must(f"chancery token revoke {token['id']}")
    go.page("clock", "clock show", "setup-link", "issue", "sign")
    world.must("cp /etc/ssl/db.lab.example.* .")
    go.page("renew", "inspect", "verify")
    crt = world.json("chancery find web.lab.example")["items"][0]["id"]
    go.page("revoke", crt=crt)
    go.page("find")
    go.page("acme eab", "acme eab create", "acme eab list", "acme directory", "acme directory list", "acme directory show")
    if not shutil.which("certbot"):
        print("skip help: certbot is not installed")
        return
    eab, account, order = client(world)
    world.must("chancery acme directory create lab --allow-names lab.example")
    go.page("acme directory create", "acme directory set")
    world.must("chancery acme directory set default --resolvers none")
    go.page("acme", "acme explain", "acme orders", "acme orders list", "acme orders show", "acme attempts", "acme accounts", ord=order)
    go.page("acme accounts list", "acme accounts show", "acme limits", "acme resume", acc=account)
    # nothing answers for web.lab.example here: what the CA saw is told, with the exit code for a failed validation
    go.page("acme test", works=lambda done: done.returncode == 11 and "web.lab.example" in done.stderr + done.stdout)
    go.page("acme renewals", "acme renewals move", "acme renewals list")
    go.page("acme renewals cancel", rnw=world.json("chancery acme renewals list")["items"][0]["id"])

    go.page("grant", "grant create", "grant list")
    grant = world.json("chancery grant list")["items"][0]["id"]
    go.page("acme accounts grant", acc=account, grt=grant)
    go.page("acme accounts deactivate", acc=account)
    go.page("acme eab revoke", eab=eab)
    go.page("grant revoke", grt=grant)
    go.page("token", "token create", "token list")
    go.page("token revoke", tok=world.json("chancery token list")["items"][0]["id"])

    world.must("chancery profile show tls-server -o json | jq '.rules | .name = \"kiosk\"' > kiosk.json")
    go.page("profile", "profile list", "profile show", "profile create", "profile edit", "profile test", "profile export", "profile apply")
    go.page("key", "key block", "key list")
    free = next(key for key in world.json("chancery key list")["items"] if key["certificates"] == 0)
    go.page("key unblock", hex=free["fingerprint"])

    go.page("ca", "ca list", "ca show", "ca ocsp", "ca set")
    # the page of `chancery ca` shows the first one too, and made that domain
    go.typed.update(("ca create", example) for example in found["ca"])
    for example in found["ca create"]:
        if example not in found["ca"]:
            go.example("ca create", example)
    go.page("ca import", "ca import-certificates", "ca csr")
    corporate(world)
    go.page("ca install", "ca crl import", "ca renew", "ca crl", "ca crl sign")
    go.page("ca root")
    world.must("rm -f etcd-root.key.taken; mv etcd-root.key etcd-root.key.taken; mv etcd-root.key.taken etcd-root.key")
    go.page("ca root online")
    world.must("rm -f etcd-root.key")
    go.page("ca root offline")
    world.must("chancery ca root online etcd-root.key")
    go.page("ca anchor", "ca anchor add", "ca anchor list", "ca anchor remove")
    go.page("ca activate", "ca retire", "ca remove")

    go.page("user create", "user", "user list", "user sign-in-link", "user role", "user password", "user disable", "user enable")
    go.page("audit", "audit list", "audit export", "audit key")
    key = re.sub(r"[^0-9a-f]", "", json.dumps(world.json("chancery audit key")["fingerprint"]))
    go.page("audit verify", hex=key)
    # no clock was set back here
    go.page("audit confirm", works=lambda done: "no chain with events that were added later" in done.stderr, rep="rep_01KB4J3V9GZ6T5QK8V0Y4M7N2P")
    go.page("quickstart", "fsck", "config", "config check", "config show", "config schema", "completion", "man")
    go.page("doctor", works=lambda done: done.returncode in (0, 10))
    go.page("trust", "trust install")
    # 11 says that a tool of this machine does not trust the root yet, such as Java, which the example leaves out
    go.page("trust doctor", works=lambda done: done.returncode in (0, 11) and "the server" in done.stdout)
    go.page("trust status", "trust uninstall")

    root = world.must("openssl x509 -in root.pem -outform DER | sha256sum").split()[0]
    go.page("bootstrap", hex=root)
    go.page("context", "context list", "context show", "context set", "context use", "context remove")

    world.must("curl -fsS -o tls-1.crl http://ca.lab.example:8080/crl/tls-1.crl")
    world.stop()
    go.page("clock trust", "reconcile")
    untyped = go.untyped()
    say(not untyped, "every example was typed", "; ".join(line for _, line in untyped))


def main():
    enter_namespaces()
    world = World()
    try:
        journey(world)
    finally:
        world.end()
    sys.exit(bad)


if __name__ == "__main__":
    main()
