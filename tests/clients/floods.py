"""Floods a server on loopback and reports how a quiet client fares. Every loop is bounded in count and in time.

usage: floods.py PHASE HTTPS_PORT HTTP_PORT ROOT_PEM PID [DEVICE_COOKIE]
Phases: sign-ins, forms, idle, attack. Prints one JSON object. `first` signs in once and prints the device cookie.
"""
import asyncio
import json
import ssl
import sys
import time
import urllib.parse

PHASE, HTTPS, HTTP, ROOT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
SERVER = int(sys.argv[5]) if len(sys.argv) > 5 else None
LOUD, QUIET = "127.0.0.1", "127.0.0.2"
STRANGER = ssl.create_default_context()
STRANGER.check_hostname = False
STRANGER.verify_mode = ssl.CERT_NONE
CHECKED = ssl.create_default_context(cafile=ROOT)


def rss():
    """Resident memory of the server in MiB."""
    try:
        with open(f"/proc/{SERVER}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) // 1024
    except (OSError, StopIteration):
        return -1


async def dial(source, port, tls):
    return await asyncio.wait_for(
        asyncio.open_connection("127.0.0.1", port, ssl=tls, local_addr=(source, 0)), 30)


async def ask(source, method, path, body=b"", headers="", tls=CHECKED, port=None, limit=60):
    """One request over a connection of its own: status, headers and body."""
    async def whole():
        reader, writer = await dial(source, port or HTTPS, tls)
        try:
            head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port or HTTPS}\r\nConnection: close\r\n{headers}"
            if body:
                head += f"Content-Length: {len(body)}\r\n"
            writer.write(head.encode() + b"\r\n" + body)
            await writer.drain()
            answer = await reader.read()
        finally:
            writer.close()
        head, _, rest = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), head.decode("latin1"), rest
    return await asyncio.wait_for(whole(), limit)


FORM = ("Content-Type: application/x-www-form-urlencoded\r\nSec-Fetch-Site: same-origin\r\n"
        "Accept: text/html\r\n")


async def sign_in(source, name, password, cookies=(), limit=60):
    body = urllib.parse.urlencode({"name": name, "password": password}).encode()
    headers = FORM + (f"Cookie: {'; '.join(cookies)}\r\n" if cookies else "")
    status, head, _ = await ask(source, "POST", "/sign-in", body, headers, limit=limit)
    lines = [line.split(":", 1)[1].strip() for line in head.split("\r\n") if line.lower().startswith("set-cookie:")]
    return status, [line.split(";")[0] for line in lines]


class Quiet:
    """A client of another address that asks for a page every half second."""

    def __init__(self, port, tls):
        self.port, self.tls, self.worst, self.failed, self.asked, self.peak = port, tls, 0.0, [], 0, 0

    async def __aenter__(self):
        self.task = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()

    async def run(self):
        while True:
            began = time.monotonic()
            try:
                status, _, _ = await ask(QUIET, "GET", "/livez", tls=self.tls, port=self.port, limit=30)
                if status != 200:
                    self.failed.append(str(status))
            except Exception as error:  # noqa: BLE001: each failure is one that a person would have seen
                self.failed.append(repr(error))
            self.asked += 1
            self.worst = max(self.worst, time.monotonic() - began)
            self.peak = max(self.peak, rss())
            await asyncio.sleep(0.5)

    def report(self, **more):
        print(json.dumps({"worst": round(self.worst, 2), "asked": self.asked, "failed": self.failed[:5],
                          "peak": self.peak, "rss": rss(), **more}))


async def gather(count, at_once, make):
    gate, outcomes = asyncio.Semaphore(at_once), {}

    async def one(number):
        async with gate:
            try:
                outcome = str(await make(number))
            except Exception as error:  # noqa: BLE001
                outcome = type(error).__name__
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    await asyncio.gather(*(one(number) for number in range(count)))
    return outcomes


async def sign_ins():
    """120 sign-ins of one address, 60 at the same time."""
    async def one(number):
        return (await sign_in(LOUD, f"user{number % 7}", "a wrong password"))[0]
    async with Quiet(HTTPS, CHECKED) as quiet:
        outcomes = await gather(120, 60, one)
    quiet.report(outcomes=outcomes)


async def forms():
    """2,400 requests whose body stops before its end: forms, ACME and OCSP, announced and chunked."""
    held = []

    async def half(number):
        path, media, size = (("/sign-in", "application/x-www-form-urlencoded", 159_000),
                             ("/acme/default/new-account", "application/jose+json", 49_000),
                             ("/setup", "application/x-www-form-urlencoded", 7_900),
                             ("/sign-in", "application/x-www-form-urlencoded", 159_000))[number % 4]
        length = "Transfer-Encoding: chunked" if number % 8 < 4 else f"Content-Length: {size + 50}"
        body = b"a" * size
        if number % 8 < 4:
            body = f"{size:x}\r\n".encode() + body + b"\r\n"
        head = (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{HTTPS}\r\nContent-Type: {media}\r\n"
                f"Sec-Fetch-Site: same-origin\r\n{length}\r\n\r\n")
        reader, writer = await dial(LOUD, HTTPS, STRANGER)
        held.append(writer)
        writer.write(head.encode() + body)
        await asyncio.wait_for(writer.drain(), 10)
        return "held"
    async with Quiet(HTTPS, CHECKED) as quiet:
        outcomes = await gather(2_400, 100, half)
        await asyncio.sleep(3)
        for writer in held:
            writer.transport.abort()
        await asyncio.sleep(1)
    quiet.report(outcomes=outcomes)


async def idle():
    """4,200 connections of one address to each listener in turn that ask once and stay; a third asks nothing."""
    report = {}
    for name, port, tls, checked in (("https", HTTPS, STRANGER, CHECKED), ("http", HTTP, None, None)):
        held = []

        async def stay(number, port=port, tls=tls, held=held):
            reader, writer = await dial(LOUD, port, tls)
            held.append(writer)
            if number % 3 == 0:
                return "silent"
            writer.write(f"GET /livez HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            return head.split()[1].decode()
        async with Quiet(port, checked) as quiet:
            outcomes = await gather(4_200, 100, stay)
            await asyncio.sleep(3)
            for writer in held:
                writer.transport.abort()
        report[name] = {"worst": round(quiet.worst, 2), "asked": quiet.asked, "failed": quiet.failed[:5],
                        "peak": quiet.peak, "outcomes": outcomes}
    print(json.dumps({**report, "rss": rss()}))


async def first():
    """The browser that is known: signs in once, before any attack."""
    status, cookies = await sign_in(QUIET, "boss", PASSWORD)
    assert status == 303, status
    print(next(pair for pair in cookies if pair.startswith("__Host-chancery-device-")))


async def attack():
    """60 wrong passwords a second for 18 s from 40 addresses, all at the administrator; meanwhile the browser that
    signed in before comes back, and somebody else with the right password from a quiet address."""
    device, seconds, rate = sys.argv[6], 18, 60
    outcomes, known, new, pending = {}, [], [], set()

    async def guess(number):
        try:
            outcome = str((await sign_in(f"127.0.1.{number % 40 + 1}", "boss", f"a wrong password {number}"))[0])
        except Exception as error:  # noqa: BLE001
            outcome = type(error).__name__
        outcomes[outcome] = outcomes.get(outcome, 0) + 1

    async def timed(into, source, name, cookies):
        began = time.monotonic()
        try:
            status, got = await sign_in(source, name, PASSWORD, cookies, limit=40)
        except Exception as error:  # noqa: BLE001
            status, got = type(error).__name__, []
        into.append((status, round(time.monotonic() - began, 2)))
        return [pair for pair in got if pair.startswith("__Host-chancery-device-")]

    async def owner():
        cookies = [device]
        while True:
            await asyncio.sleep(2)
            cookies = await timed(known, "127.0.0.3", "boss", cookies) or cookies

    async def colleague():
        for number in range(2):
            await asyncio.sleep(4)
            await timed(new, f"127.0.0.{number + 4}", "carol", ())

    visits = [asyncio.create_task(owner()), asyncio.create_task(colleague())]
    began = time.monotonic()
    for number in range(seconds * rate):
        task = asyncio.create_task(guess(number))
        pending.add(task)
        task.add_done_callback(pending.discard)
        await asyncio.sleep(max(0, began + (number + 1) / rate - time.monotonic()))
    took = time.monotonic() - began
    closed = []
    await timed(closed, "127.0.0.9", "boss", ())
    await asyncio.wait(visits[1:], timeout=60)
    visits[0].cancel()
    if pending:
        await asyncio.wait(pending, timeout=30)
    print(json.dumps({"rate": round(seconds * rate / took, 1), "outcomes": outcomes, "known": known, "new": new,
                      "closed": closed, "rss": rss()}))


PASSWORD = "violet harbour nine"
asyncio.run({"first": first, "attack": attack, "sign-ins": sign_ins, "forms": forms, "idle": idle}[PHASE]())
