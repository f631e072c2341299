# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames as userspace/wire/wire.h has them, for tests that play a peer or rewrite one."""
import ctypes
import json
import os
import struct

MAGIC = 0x52565244
FRAME = 40              # bytes of a frame's header
HELLO, RANGES, HELLO_ACK, ATTACH, FAIL = 1, 2, 3, 4, 21
HEAD = struct.Struct("<IHHHHIIIQI")     # all of it but the checksum
HELLO_HEAD = struct.Struct("<HHIQ16s16sIIQ")

xxhash = ctypes.CDLL("libxxhash.so.0").XXH3_64bits
xxhash.restype = ctypes.c_uint64
xxhash.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def frame(kind, body, seq=0, version=0x100):
    head = HEAD.pack(MAGIC, version, kind, 0, 0, seq, len(body), 0, 0, 0)
    return head + struct.pack("<I", xxhash(head, len(head)) & 0xffffffff) + body


def recv_exact(sock, n):
    data = b""
    while len(data) < n:
        more = sock.recv(n - len(data))
        if not more:
            raise OSError("closed in the middle of a frame")
        data += more
    return data


def read_frame(sock):
    """Header and body of the next frame that has no payload."""
    head = recv_exact(sock, FRAME)
    return head + recv_exact(sock, HEAD.unpack(head[:36])[6])


def split(data):
    """(type, body) of a frame without payload."""
    return HEAD.unpack(data[:36])[2], data[FRAME:]


def hello(config, blocks, versions=(0x100, 0x100)):
    """HELLO's body, of a session of its own. blocks: [(name, gpa, size)]"""
    text = json.dumps(config).encode()
    body = HELLO_HEAD.pack(*versions, 0, 0, os.urandom(16), bytes(16), len(blocks),
                           len(text), 0)
    for name, gpa, size in blocks:
        body += struct.pack("<QQIHH", gpa, size, 0, len(name), 0) + name.encode()
    return body + text


def hello_config(body):
    """The config of a HELLO's body."""
    return json.loads(body[len(body) - HELLO_HEAD.unpack(body[:64])[7]:])


def hello_with(body, config):
    """The same HELLO with another config."""
    fields = list(HELLO_HEAD.unpack(body[:64]))
    rest = body[64:len(body) - fields[7]]
    text = json.dumps(config).encode()
    fields[7] = len(text)
    return HELLO_HEAD.pack(*fields) + rest + text


def ranges_end():
    """RANGES' body: no range, the last of them."""
    return struct.pack("<II", 0, 1)


def hello_ack(body):
    """(status, version, what its JSON text says)"""
    status, version = struct.unpack_from("<IH", body)
    return status, version, json.loads(body[16:])
