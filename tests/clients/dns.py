#!/usr/bin/python3
"""A tiny authoritative DNS server on loopback for the client tests: prints its port, then answers until killed.

Usage: dns.py SUFFIX…   Every name under a SUFFIX has the address 127.0.0.1; other names are NXDOMAIN. UDP and TCP on
the same port (RFC 1035 §4.2). Names under `gone.SUFFIX` are NXDOMAIN too. TEXTS names a folder: a file there is a
name, each line of it a TXT record, read anew for every question.
"""
import os
import socket
import socketserver
import struct
import sys
import threading

A, SOA, TXT, ANY = 1, 6, 16, 255
TEXTS = os.environ.get("TEXTS")
SUFFIXES = [s.lower().rstrip(".").encode() for s in sys.argv[1:]]


def question(packet):
    """The first question: its raw bytes, its name in lower case, its type."""
    at, labels = 12, []
    while packet[at]:
        length = packet[at]
        if length > 63:
            raise ValueError("compressed question")
        labels.append(packet[at + 1:at + 1 + length].lower())
        at += 1 + length
    raw = packet[12:at + 5]
    return raw, b".".join(labels), struct.unpack(">H", packet[at + 1:at + 3])[0]


def answer(packet):
    raw, name, kind = question(packet)
    ours = [s for s in SUFFIXES if name == s or name.endswith(b"." + s)]
    known = bool(ours) and not name.endswith(b"gone." + ours[0])
    records = []
    if known and kind in (A, ANY):
        records = [(A, bytes([127, 0, 0, 1]))]
    elif known and kind == TXT:
        records = [(TXT, bytes([len(text)]) + text) for text in texts(name)]
    count = len(records)
    records = b"".join(struct.pack(">HHHIH", 0xC00C, of, 1, 1, len(data)) + data for of, data in records)
    authority = b""
    if ours and not records:
        zone = b"".join(bytes([len(p)]) + p for p in ours[0].split(b".")) + b"\0"
        soa = b"\0\0" + struct.pack(">IIIII", 1, 60, 60, 60, 0)
        authority = zone + struct.pack(">HHIH", SOA, 1, 0, len(soa)) + soa
    flags = 0x8400 | (packet[2] << 8 & 0x0100) | 0x0080 | (0 if known else 3)
    counts = struct.pack(">HHHH", 1, count, bool(authority), 0)
    return packet[:2] + struct.pack(">H", flags) + counts + raw + records + authority


def texts(name):
    """What a hook wrote for this name."""
    path = os.path.join(TEXTS or "", name.decode("ascii", "replace").replace("/", "_"))
    if not TEXTS or not os.path.isfile(path):
        return []
    with open(path, "rb") as file:
        return [line.rstrip()[:255] for line in file if line.strip()]


class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        packet, sock = self.request
        try:
            sock.sendto(answer(packet), self.client_address)
        except (ValueError, IndexError, struct.error):
            pass


class Tcp(socketserver.StreamRequestHandler):
    def handle(self):
        while len(head := self.rfile.read(2)) == 2:
            reply = answer(self.rfile.read(struct.unpack(">H", head)[0]))
            self.wfile.write(struct.pack(">H", len(reply)) + reply)


class UdpServer(socketserver.ThreadingUDPServer):
    daemon_threads = True


class TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def main():
    for _ in range(20):
        udp = UdpServer(("127.0.0.1", 0), Udp)
        try:
            tcp = TcpServer(("127.0.0.1", udp.server_address[1]), Tcp)
            break
        except OSError:  # the port is taken for TCP: another one
            udp.server_close()
    threading.Thread(target=tcp.serve_forever, daemon=True).start()
    print(udp.server_address[1], flush=True)
    udp.serve_forever()


if __name__ == "__main__":
    main()
