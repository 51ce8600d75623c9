#!/usr/bin/python3
"""Load for kill9.sh: issues by REST from several connections until the server dies, and checks afterwards.

load.py issue URL ROOT TOKEN CSR OUT THREADS   writes one JSON line to OUT for each 201, before asking for the next
load.py check URL ROOT TOKEN OUT…              every certificate in the OUTs is found by serial; no serial twice
"""
import http.client
import json
import pathlib
import ssl
import sys
import threading
import urllib.parse


class Server:
    def __init__(self, url, root, token):
        self.host = urllib.parse.urlparse(url).netloc
        self.context = ssl.create_default_context(cafile=root)
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def connect(self):
        return http.client.HTTPSConnection(self.host, context=self.context, timeout=30)

    def ask(self, connection, method, path, body=None):
        connection.request(method, "/api/v1/" + path, body, self.headers)
        response = connection.getresponse()
        return response.status, response.read()


def worker(server, body, out, lock, refusals):
    try:
        connection = server.connect()
        while True:
            status, answer = server.ask(connection, "POST", "certificates", body)
            if status == 201:
                got = json.loads(answer)
                line = json.dumps({k: got[k] for k in ("id", "serial", "certificate")})
                with lock:  # guards the file: one whole line at a time
                    out.write(line + "\n")
                    out.flush()
            elif status not in (429, 503):
                refusals.append(f"{status} {answer[:300]!r}")
                return
    except (OSError, http.client.HTTPException, ValueError):
        return  # the server was killed: what was not received whole was not given


def issue(url, root, token, csr, out, threads):
    server = Server(url, root, token)
    body = json.dumps({"csr": pathlib.Path(csr).read_text(), "profile": "tls-server"})
    lock, refusals = threading.Lock(), []
    with open(out, "a") as file:
        workers = [threading.Thread(target=worker, args=(server, body, file, lock, refusals)) for _ in range(int(threads))]
        for thread in workers:
            thread.start()
        for thread in workers:
            thread.join()
    if refusals:
        sys.exit("refused under load: " + refusals[0])


def check(url, root, token, *outs):
    server = Server(url, root, token)
    given = [json.loads(line) for out in outs for line in pathlib.Path(out).read_text().splitlines()]
    serials = {entry["serial"] for entry in given}
    faults = []
    if len(serials) != len(given):
        faults.append(f"{len(given) - len(serials)} serials were given twice")
    connection = server.connect()
    for entry in given:
        status, answer = server.ask(connection, "GET", "certificates?serial=" + entry["serial"])
        items = json.loads(answer)["items"] if status == 200 else []
        if [item["id"] for item in items] != [entry["id"]]:
            faults.append(f'{entry["serial"]} is lost: {status} {answer[:200]!r}')
            continue
        status, answer = server.ask(connection, "GET", "certificates/" + entry["id"])
        if status != 200 or json.loads(answer)["certificate"] != entry["certificate"]:
            faults.append(f'{entry["serial"]} is another certificate now: {status}')
    print(f"{len(given)} certificates given, {len(faults)} faults")
    if faults or not given:
        sys.exit("\n".join(faults[:10]) or "nothing was issued")


{"issue": issue, "check": check}[sys.argv[1]](*sys.argv[2:])
