#!/usr/bin/python3
"""An ACME client for mixed.sh: takes every order through both servers, each of its steps at either one.

mixed.py DIRECTORY ROOT WEBROOT ZONE OUT OLD NEW   OLD and NEW are base URLs; OUT gets a chain and a CSR's key per order
Exit code 0 when every order ended with a certificate.
"""
import base64
import hashlib
import itertools
import json
import pathlib
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

DIRECTORY, ROOT, WEBROOT, ZONE, OUT, *SERVERS = sys.argv[1:]
NAMES = ("old", "new")
# both have a certificate for 127.0.0.1
TRUSTING = ssl.create_default_context(cafile=ROOT)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def ask(url, body=None, method=None):
    request = urllib.request.Request(url, body, {"Content-Type": "application/jose+json"}, method=method)
    try:
        with urllib.request.urlopen(request, context=TRUSTING, timeout=60) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def at(server, url):
    """The same resource at one of the two servers."""
    base, parts = urllib.parse.urlparse(SERVERS[server]), urllib.parse.urlparse(url)
    return parts._replace(scheme=base.scheme, netloc=base.netloc).geturl()


URLS = json.loads(ask(DIRECTORY)[2])


class Account:
    def __init__(self, server):
        self.key = ec.generate_private_key(ec.SECP256R1())
        point = self.key.public_key().public_numbers()
        self.jwk = {"crv": "P-256", "kty": "EC", "x": b64(point.x.to_bytes(32, "big")), "y": b64(point.y.to_bytes(32, "big"))}
        self.kid = None
        status, headers, body = self.post(server, URLS["newAccount"], {"termsOfServiceAgreed": True})
        assert status == 201, body
        self.kid = headers["Location"]

    def thumbprint(self):
        return b64(hashlib.sha256(json.dumps(self.jwk, separators=(",", ":"), sort_keys=True).encode()).digest())

    def post(self, server, url, payload=None):
        """The JWS names the URL that the directory shows; the request goes to the server that the step is for."""
        for _ in range(2):
            nonce = ask(at(server, URLS["newNonce"]), method="HEAD")[1]["Replay-Nonce"]
            header = {"alg": "ES256", "nonce": nonce, "url": url}
            header |= {"kid": self.kid} if self.kid else {"jwk": self.jwk}
            text = f"{b64(json.dumps(header).encode())}.{'' if payload is None else b64(json.dumps(payload).encode())}"
            r, s = decode_dss_signature(self.key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
            protected, body = text.split(".")
            signature = b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
            jws = json.dumps({"protected": protected, "payload": body, "signature": signature}).encode()
            answer = ask(at(server, url), jws)
            # RFC 8555 6.5: a client tries once more
            if answer[0] != 400 or b":badNonce" not in answer[2]:
                break
        return answer

    def get(self, server, url):
        status, headers, body = self.post(server, url)
        assert status == 200, (status, body)
        return json.loads(body)

    def until(self, server, url, wanted):
        for _ in range(300):
            found = self.get(server, url)
            if found["status"] == wanted:
                return found
            assert found["status"] in ("pending", "processing", "ready"), found
            time.sleep(0.1)  # the server validates in its own time
        raise AssertionError(f"{url} is not {wanted}: {found}")


def csr(name):
    key, request = pathlib.Path(OUT, name + ".key"), pathlib.Path(OUT, name + ".csr")
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/",
                    "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-outform", "DER", "-out", request],
                   check=True, capture_output=True)
    return b64(request.read_bytes())


def journey(account, name, ordered, proved, finalized, fetched):
    status, headers, body = account.post(ordered, URLS["newOrder"], {"identifiers": [{"type": "dns", "value": name}]})
    assert status == 201, (status, body)
    order, url = json.loads(body), headers["Location"]
    assert len(order["authorizations"]) == 1, order
    authorization = account.get(proved, order["authorizations"][0])
    challenge = next(c for c in authorization["challenges"] if c["type"] == "http-01")
    folder = pathlib.Path(WEBROOT, ".well-known/acme-challenge")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / challenge["token"]).write_text(f"{challenge['token']}.{account.thumbprint()}")
    status, _, body = account.post(proved, challenge["url"], {})
    assert status == 200, (status, body)
    account.until(finalized, url, "ready")
    status, _, body = account.post(finalized, order["finalize"], {"csr": csr(name)})
    assert status == 200, (status, body)
    done = account.until(fetched, url, "valid")
    assert len(done["authorizations"]) == 1, done
    status, _, chain = account.post(fetched, done["certificate"])
    assert status == 200, (status, chain)
    pathlib.Path(OUT, name + ".pem").write_bytes(chain)


failed = 0
accounts = [Account(0), Account(1)]
for whose, *steps in itertools.product((0, 1), repeat=5):
    way = "-".join(NAMES[server] for server in steps)
    try:
        journey(accounts[whose], f"{way}.{NAMES[whose]}.{ZONE}", *steps)
    except (AssertionError, OSError, ValueError, KeyError) as error:
        failed += 1
        print(f"account at {NAMES[whose]}, ordered, proved, finalized, fetched at {way}: {error}")
sys.exit(1 if failed else 0)
