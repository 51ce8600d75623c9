#!/usr/bin/python3
"""A TLS proxy that gives each request to the next server in turn, for replicas.sh.

round_robin.py PORT CERT KEY LOG URL…   prints its port; a server that does not answer is passed over, also within a request

LOG gets one JSON line a request: which server, status, problem type, and whose key signed (kid or jwk).
"""
import base64
import hashlib
import http.client
import http.server
import itertools
import json
import pathlib
import ssl
import sys
import threading
import urllib.parse

PORT, CERT, KEY, LOG, *URLS = sys.argv[1:]
HOSTS = [urllib.parse.urlparse(url).netloc for url in URLS]
TURN = itertools.count()
LOCK = threading.Lock()
# who is asked is of one's own: what is tested is in front
INSIDE = ssl._create_unverified_context()
LAST = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


def signer(body):
    try:
        protected = json.loads(body)["protected"]
        header = json.loads(base64.urlsafe_b64decode(protected + "=" * (-len(protected) % 4)))
        return header.get("kid") or hashlib.sha256(json.dumps(header["jwk"], sort_keys=True).encode()).hexdigest()
    except (ValueError, KeyError, TypeError):
        return None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # one request a connection, so that the turn goes round

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in LAST}
        with LOCK:
            first = next(TURN)
        for n in range(2 * len(HOSTS)):
            host = HOSTS[(first + n) % len(HOSTS)]
            try:
                connection = http.client.HTTPSConnection(host, context=INSIDE, timeout=30)
                connection.request(self.command, self.path, body or None, headers)
                response = connection.getresponse()
                answer = response.read()
                break
            except (OSError, http.client.HTTPException):
                continue
            finally:
                connection.close()
        else:
            self.send_error(502)
            return
        problem = None
        if response.headers.get("Content-Type") == "application/problem+json":
            problem = json.loads(answer)["type"].rsplit(":", 1)[-1]
        line = {"server": HOSTS.index(host), "again": n, "path": self.path, "status": response.status, "problem": problem, "by": signer(body)}
        with LOCK, open(LOG, "a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in LAST:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_HEAD = do_POST = pass_on

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def finish_request(self, request, client_address):
        # the handshake in the thread of the request, so that nobody waits for somebody else's
        request.settimeout(30)
        with OUTSIDE.wrap_socket(request, server_side=True) as secure:
            self.RequestHandlerClass(secure, client_address, self)

    def handle_error(self, request, client_address):
        pass


OUTSIDE = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
OUTSIDE.load_cert_chain(CERT, KEY)
pathlib.Path(LOG).touch()
server = Server(("127.0.0.1", int(PORT)), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
