#!/usr/bin/python3
"""What kube-apiserver calls over TLS: a kubelet's log endpoint and an admission webhook. Prints its port.

Usage: endpoint.py CERT KEY [CLIENT-CA]   With a CLIENT-CA nobody gets in without a certificate under it.
GET /containerLogs/… answers who asked; POST takes an AdmissionReview and refuses objects that are called `refused`.
"""
import http.server
import json
import ssl
import sys


class Endpoint(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        subject = (self.connection.getpeercert() or {}).get("subject", ())
        names = [value for rdn in subject for key, value in rdn if key == "commonName"]
        self.answer("text/plain", f"logs for {', '.join(names) or 'nobody'}\n")

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = review["request"]
        allowed = asked.get("name") != "refused"
        response = {"uid": asked["uid"], "allowed": allowed, "status": {"message": "the webhook under our certificate says no"}}
        self.answer("application/json", json.dumps({**review, "request": None, "response": response}))

    def answer(self, kind, text):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    if len(sys.argv) > 3:
        context.load_verify_locations(sys.argv[3])
        context.verify_mode = ssl.CERT_REQUIRED
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
