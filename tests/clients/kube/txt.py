#!/usr/bin/python3
"""Ends with 0 when a name server has TXT records at a name: txt.py ADDRESS:PORT NAME. RFC 1035 over TCP."""
import socket
import struct
import sys

address, name = sys.argv[1:]
host, port = address.rsplit(":", 1)
question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
query = struct.pack(">HHHHHH", 1, 0, 1, 0, 0, 0) + question + struct.pack(">HH", 16, 1)
with socket.create_connection((host, int(port)), timeout=5) as connection:
    connection.sendall(struct.pack(">H", len(query)) + query)
    answer = connection.makefile("rb").read(14)
flags, answers = struct.unpack(">H", answer[4:6])[0], struct.unpack(">H", answer[8:10])[0]
# the wildcard of the zone has an address alone, so an answer is a record that was added
sys.exit(0 if flags & 0xF == 0 and answers else 1)
