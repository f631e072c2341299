# SPDX-License-Identifier: GPL-2.0-or-later
"""Half of a migration, played by a test: a source or a destination that says what it likes.

Bodies are the smallest their message may have, unless a test gives another. The tables of
what is legal when are read from userspace/wire/, so that a test need not repeat them.
"""
import ctypes
import json
import os
import re
import socket
import struct

import wire
from drover import ROOT

HEAD, FRAME = wire.HEAD, wire.FRAME
ONE_WAY, RESUME = 1, 4          # flags of HELLO
DATA, POSTCOPY = 1, 2           # types of ATTACH


def _def(name):
    with open(os.path.join(ROOT, "userspace", "wire", name)) as f:
        return re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)


MESSAGES = _def("messages.def")
PHASES = re.findall(r"^PHASE\((\w+),", _def("phases.def"), re.M)
TYPE, NAME, BODY, SENDER, CHANNELS = {}, {}, {}, {}, {}
for n, nr, side, channels, least in re.findall(
        r"^MSG\((\w+), (\d+), (\w), ([MDP| ]+), (\d+),", MESSAGES, re.M):
    TYPE[n], NAME[int(nr)], BODY[n] = int(nr), n, int(least)
    SENDER[n], CHANNELS[n] = "SD" if side == "B" else side, channels


def _phases(text):
    out = set()
    for part in text.split("|"):
        names = re.findall(r"[A-Z]{3,}", part.replace("SPAN", "").replace("IN(", "("))
        at = [PHASES.index(n) for n in names]
        out |= set(PHASES[at[0]:at[-1] + 1])
    return out


WHEN = [(n, side, channels, mode, _phases(names)) for n, side, channels, mode, names in
        re.findall(r"^WHEN\((\w+), ([SD]), ([MDP| ]+), ([A-Z| ]+), (.*)\)$", MESSAGES, re.M)]


def legal(side, channel, mode, phase):
    """Messages that the table lets this side (S, D) say there; mode: TWO, ONE, POST."""
    return {n for n, s, chs, m, ph in WHEN
            if s == side and channel in chs and (m == "ANY" or mode in m) and phase in ph}


def runs(block, rs, last=False):
    return struct.pack("<II", block, last) + b"".join(struct.pack("<QQ", *r) for r in rs)


def pages(rnd, rs, block=0):
    """PAGES' body: rs is [(first, count, zero)]; the raw ones' payload follows."""
    body = struct.pack("<III", block, rnd, len(rs))
    for page, n, zero in rs:
        body += struct.pack("<QIIHH", page, n, 0 if zero else n * 4096, 1 if zero else 0, 0)
    return body


def digest(level, first, values, last=False, block=0):
    return struct.pack("<IHHQII", block, level, last, first, len(values), 0) + \
        b"".join(struct.pack("<Q", v) for v in values)


xxh64 = ctypes.CDLL("libxxhash.so.0").XXH64
xxh64.restype = ctypes.c_uint64
xxh64.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]


def sim_state(size, zero=100):
    """The device state of a simulated guest that has written nothing."""
    body = b"drvsimst" + struct.pack("<IIQQQQQQQ", 1, 80, 1, size, 0, size, zero, 0, 0)
    return body + struct.pack("<Q", xxh64(body, 72, 0))


class Refused(Exception):
    """The other side sent FAIL, or closed; its text."""


class Conn:
    def __init__(self, sock, channel=0):
        self.s, self.channel, self.seq = sock, channel, 0
        sock.settimeout(30)
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, name, body=None, payload=b""):
        body = bytes(BODY[name]) if body is None else body
        head = HEAD.pack(wire.MAGIC, 0x100, TYPE[name], 0, self.channel, self.seq, len(body), 0,
                         len(payload), 0)
        self.seq += 1
        self.s.sendall(head + struct.pack("<I", wire.xxhash(head, len(head)) & 0xffffffff) +
                       body + payload)

    def recv(self):
        """(name, body, payload)"""
        fields = HEAD.unpack(wire.recv_exact(self.s, FRAME)[:36])
        body = wire.recv_exact(self.s, fields[6])
        return NAME[fields[2]], body, wire.recv_exact(self.s, fields[8])

    def until(self, *names):
        while True:
            name, body, payload = self.recv()
            if name in names:
                return body
            if name == "FAIL":
                raise Refused(body[4:].decode())

    def refusal(self):
        """What the other side says when it gives up; "" when it only closes."""
        try:
            self.until()
        except Refused as e:
            return str(e)
        except OSError:
            return ""

    def close(self):
        self.s.close()


class Source:
    """A source up to the phase that is asked for; main is its main channel."""

    def __init__(self, port, size=16 << 20, config=None, flags=0):
        self.port, self.size, self.flags = port, size, flags
        self.config = config or {}
        self.token = os.urandom(16)
        self.main = Conn(socket.create_connection(("127.0.0.1", port)))
        self.others = []

    def hello(self):
        text = json.dumps(self.config).encode()
        body = wire.HELLO_HEAD.pack(0x100, 0x100, self.flags, 0, self.token, bytes(16), 1,
                                    len(text), 0)
        self.main.send("HELLO", body + struct.pack("<QQIHH", 0, self.size, 0, 4, 0) + b"ram0" +
                       text)

    def accepted(self):
        self.hello()
        self.main.send("RANGES", runs(0, [], True))
        if self.flags & ONE_WAY:
            return
        body = self.main.until("HELLO_ACK")
        if body[0]:
            raise Refused(body[16:].decode())

    def attach(self, index=0, kind=DATA):
        c = Conn(socket.create_connection(("127.0.0.1", self.port)),
                 index + 1 if kind == DATA else 256 + index)
        self.others.append(c)
        c.send("ATTACH", self.token + struct.pack("<HH", kind, index))
        if c.until("ATTACH_ACK")[0]:
            raise Refused("ATTACH")
        return c

    def final(self):
        self.main.send("ROUND_END", struct.pack("<II", 1, 1))
        for c in self.others:
            if c.channel < 256:
                c.send("ROUND_END", struct.pack("<II", 1, 1))
        if not self.flags & ONE_WAY:
            self.main.until("ROUND_ACK")

    def discard(self, rs, last=True):
        self.main.send("DISCARD", runs(0, rs, last))

    def begin_state(self):
        self.main.send("STATE", struct.pack("<IIQQ", 1, 0, 1, 0) + b"drover/run", b"\1")

    def state(self):
        self.begin_state()
        data = sim_state(self.size)
        self.main.send("STATE", struct.pack("<IIQQ", 1, 1, len(data), 0) + b"guest", data)
        if not self.flags & ONE_WAY:
            self.main.until("STATE_ACK")

    def commit(self):
        self.main.send("COMMIT", self.token)
        self.main.until("COMMIT_ACK")

    def close(self):
        for c in [self.main, *self.others]:
            c.close()


class Dest:
    """A destination: it listens, and answers what it is told to."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(30)
        self.uri = f"tcp:127.0.0.1:{self.listener.getsockname()[1]}"
        self.conns = []

    def accept(self, channel=0):
        c = Conn(self.listener.accept()[0], channel)
        self.conns.append(c)
        return c

    def question(self, c):
        """Read HELLO and all RANGES; the config that was offered."""
        body = c.until("HELLO")
        fields = wire.HELLO_HEAD.unpack(body[:64])
        self.token = fields[4]
        if not fields[2] & RESUME:
            while not struct.unpack_from("<II", c.until("RANGES"))[1] & 1:
                pass
        self.config = body[len(body) - fields[7]:]

    def accept_hello(self, c):
        self.question(c)
        c.send("HELLO_ACK", struct.pack("<IHHQ", 0, 0x100, 0, 0) + self.config)

    def answer_until(self, c, *names):
        """Answer pings and rounds as a good destination until one of these comes; its body."""
        while True:
            name, body, _ = c.recv()
            if name == "PING":
                c.send("PONG", body)
            if name == "ROUND_END":
                c.send("ROUND_ACK", body[:4] + bytes(12))
            if name in names:
                return body
            if name == "FAIL":
                raise Refused(body[4:].decode())

    def settle(self, answer):
        """Answer the next OWNER_QUERY."""
        c = self.accept()
        c.until("OWNER_QUERY")
        c.send("OWNER", self.token + struct.pack("<I", answer))
        c.close()

    def close(self):
        for c in self.conns:
            c.close()
        self.listener.close()
