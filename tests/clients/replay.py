#!/usr/bin/python3
"""One nonce, posted 50 times at once over all servers, for replicas.sh.

replay.py DIRECTORY ROOT URL…   exit code 0 when exactly one of the 50 was accepted and 49 were told badNonce
"""
import base64
import concurrent.futures
import json
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

DIRECTORY, ROOT, *URLS = sys.argv[1:]
TRUSTING = ssl.create_default_context(cafile=ROOT)
INSIDE = ssl._create_unverified_context()
KEY = ec.generate_private_key(ec.SECP256R1())


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(n):
    return b64(n.to_bytes(32, "big"))


def jws(header, payload):
    text = f"{b64(json.dumps(header).encode())}.{b64(payload)}"
    r, s = decode_dss_signature(KEY.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    protected, payload = text.split(".")
    signature = b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    return json.dumps({"protected": protected, "payload": payload, "signature": signature}).encode()


def ask(url, body=None, context=TRUSTING, method=None):
    request = urllib.request.Request(url, body, {"Content-Type": "application/jose+json"}, method=method)
    try:
        with urllib.request.urlopen(request, context=context, timeout=30) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


urls = json.loads(ask(DIRECTORY)[2])
fresh = lambda: ask(urls["newNonce"], method="HEAD")[1]["Replay-Nonce"]
point = KEY.public_key().public_numbers()
jwk = {"crv": "P-256", "kty": "EC", "x": number(point.x), "y": number(point.y)}
header = {"alg": "ES256", "jwk": jwk, "nonce": fresh(), "url": urls["newAccount"]}
status, headers, body = ask(urls["newAccount"], jws(header, b'{"termsOfServiceAgreed":true}'))
assert status == 201, body
kid = headers["Location"]
body = jws({"alg": "ES256", "kid": kid, "nonce": fresh(), "url": kid}, b"")
path = urllib.parse.urlparse(kid).path
with concurrent.futures.ThreadPoolExecutor(50) as pool:
    replies = list(pool.map(lambda n: ask(URLS[n % len(URLS)] + path, body, INSIDE), range(50)))
accepted = sum(status == 200 for status, *_ in replies)
refused = sum(status == 400 and json.loads(body)["type"].endswith(":badNonce") for status, _, body in replies)
print(f"{accepted} accepted, {refused} badNonce")
sys.exit(0 if (accepted, refused) == (1, 49) else 1)
