#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The wire is what it was: migrations recorded with commit 6c3de87, made and taken today.

corpus/wire.jsonl has every frame of three migrations of one small guest: a one-way file, and
the main channels of a precopy and of a postcopy. Today's source must say the same, frame by
frame, but for what is random (token, nonces of pings) or timing (pings at all, byte counters).
Today's destination must take each recording as it is, and its guest's own check must pass.

recorded.t --record DROVERD makes the recordings anew, with that program.
"""
import base64
import hashlib
import json
import os
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import peer  # noqa: E402
import wire  # noqa: E402
from drover import (DEADLINE, DROVERD, Tap, World, brief, listen, port_of,  # noqa: E402
                    start)

tap = Tap()
CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", "wire.jsonl")
SOURCE, DEST = "sim:size=128K,seed=7,zero=50", "sim:size=128K"
CONFIGS = {"file": {}, "precopy": {},
           "postcopy": {"postcopy-ram": True, "postcopy-from-start": True}}
TOKENS = ("COMMIT", "COMMIT_ACK", "RELEASED", "PAUSED", "OWNER_QUERY", "OWNER")


class Frame:
    def __init__(self, side, head, body, payload):
        self.side, self.head, self.body, self.payload = side, head, body, payload
        self.name = peer.NAME[wire.HEAD.unpack(head[:36])[2]]

    def bytes(self):
        return self.head + self.body + self.payload


def read(side, recv):
    head = recv(wire.FRAME)
    fields = wire.HEAD.unpack(head[:36])
    return Frame(side, head, recv(fields[6]), recv(fields[8]))


class Witness:
    """Stands between source and destination, and writes down each frame before it goes on."""

    def __init__(self, port):
        self.port, self.frames, self.lock = port, [], threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"tcp:127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        left = self.listener.accept()[0]
        right = socket.create_connection(("127.0.0.1", self.port))
        for s in (left, right):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self.pump, args=("S", left, right), daemon=True).start()
        self.pump("D", right, left)

    def pump(self, side, src, dst):
        try:
            while True:
                f = read(side, lambda n: wire.recv_exact(src, n))
                with self.lock:
                    self.frames.append(f)
                dst.sendall(f.bytes())
        except OSError:
            pass
        try:
            dst.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def split(data):
    """Frames of a stream that one side wrote."""
    out, at = [], 0

    def take(n):
        nonlocal at
        at += n
        return data[at - n:at]
    while at < len(data):
        out.append(read("S", take))
    return out


def make(world, kind, program):
    """The frames of one migration, by these daemons."""
    a = world.daemon("a", SOURCE, program=program)
    if kind == "file":
        path = world.file("stream")
        start(a, "file:" + path)
        assert a.until("completed", "failed")["status"] == "completed", a.info()
        with open(path, "rb") as f:
            return split(f.read())
    b = world.daemon("b", DEST, program=program)
    w = Witness(port_of(listen(b)))
    start(a, w.uri, CONFIGS[kind])
    ends = a.until("completed", "failed"), b.until("completed", "failed")
    assert all(e["status"] == "completed" for e in ends), ends
    end = time.monotonic() + DEADLINE
    while w.frames[-1].name != "RELEASED" and time.monotonic() < end:
        time.sleep(0.01)
    return w.frames


# ---- the corpus ------------------------------------------------------------------------

def save(recordings):
    """Each page is written once, however many recordings have it."""
    pages, lines = {}, []
    for kind, frames in recordings.items():
        for f in frames:
            refs = []
            for at in range(0, len(f.payload), 4096):
                piece = f.payload[at:at + 4096]
                refs.append(pages.setdefault(piece, len(pages)))
            lines.append({"recording": kind, "from": f.side, "name": f.name,
                          "head": f.head.hex(), "body": f.body.hex(), "payload": refs})
    with open(CORPUS, "w") as out:
        for piece in pages:
            out.write(json.dumps({"piece": base64.b64encode(piece).decode()}) + "\n")
        for line in lines:
            out.write(json.dumps(line) + "\n")


def load():
    pieces, recordings = [], {}
    with open(CORPUS) as f:
        for line in map(json.loads, f):
            if "piece" in line:
                pieces.append(base64.b64decode(line["piece"]))
                continue
            recordings.setdefault(line["recording"], []).append(
                Frame(line["from"], bytes.fromhex(line["head"]), bytes.fromhex(line["body"]),
                      b"".join(pieces[i] for i in line["payload"])))
    return recordings


# ---- what must be the same -------------------------------------------------------------

def masked(f):
    """(name, version, channel, body, digest of the payload) without what is random."""
    _, version, _, _, channel = wire.HEAD.unpack(f.head[:36])[:5]
    body = f.body
    if f.name == "HELLO":
        body = body[:16] + bytes(16) + body[32:]
    elif f.name in TOKENS:
        body = bytes(16) + body[16:]
    elif f.name == "ROUND_ACK":
        body = body[:8] + bytes(8)
    elif f.name == "HELLO_ACK":
        # Options may be added; those that were agreed on stay what they were.
        body = body[:16] + json.dumps(json.loads(body[16:]), sort_keys=True).encode()
    return (f.name, version, channel, body.hex(), hashlib.sha256(f.payload).hexdigest())


def placed(f):
    """{page: content} of a PAGES frame."""
    block, _, n = struct.unpack_from("<III", f.body)
    out, at = {}, 0
    for i in range(n):
        page, npages, size, kind, _ = struct.unpack_from("<QIIHH", f.body, 12 + 20 * i)
        for k in range(npages):
            data = f.payload[at + k * 4096:at + (k + 1) * 4096] if size else bytes(4096)
            out[block, page + k, kind] = hashlib.sha256(data).hexdigest()
        at += size
    return out


def said(frames, side, kind):
    """
    What one side said, in its order. Which page comes when in postcopy is for the guest at the
    other end to decide, so there the pages are one set.
    """
    out, pages = [], {}
    for f in frames:
        if f.side != side or f.name in ("PING", "PONG", "PAGE_REQ"):
            continue
        if kind == "postcopy" and f.name == "PAGES":
            pages.update(placed(f))
        else:
            out.append(masked(f))
    return out, pages


def sequence(frames, side):
    """Each frame's number is the one before plus one."""
    seq = [wire.HEAD.unpack(f.head[:36])[5] for f in frames if f.side == side]
    return seq == list(range(len(seq)))


def first_difference(old, new):
    for i, (x, y) in enumerate(zip(old, new)):
        if x != y:
            return f"frame {i}\nwas {str(x)[:600]}\nis  {str(y)[:600]}"
    return f"{len(old)} frames, now {len(new)}: {[x[0] for x in new][len(old) - 2:]}"


def grown(old, new):
    """HELLO_ACK of today may list more options."""
    out = list(new)
    for i, (x, y) in enumerate(zip(old, new)):
        if x[0] == y[0] == "HELLO_ACK" and x[3][:32] == y[3][:32]:
            was, now = (json.loads(bytes.fromhex(t[3])[16:]) for t in (x, y))
            if was.items() <= now.items():
                out[i] = x
    return out


def produced(world):
    recordings = load()
    for kind, old in recordings.items():
        with World() as w:
            new = make(w, kind, DROVERD)
        for side, who in (("S", "source"), ("D", "destination")):
            if kind == "file" and side == "D":
                continue
            was, pages_were = said(old, side, kind)
            now, pages = said(new, side, kind)
            now = grown(was, now)
            tap.ok(was == now and pages_were == pages and sequence(new, side),
                   f"{kind}: the {who} says the same, {len(was)} frames"
                   f"{f' and {len(pages)} pages' if pages else ''}", first_difference(was, now))
    control = [f for f in recordings["precopy"] if f.name != "DIGEST"]
    tap.ok(said(control, "S", "precopy") != said(recordings["precopy"], "S", "precopy"),
           "a frame less is found")
    changed = [f for f in recordings["precopy"] if f.name == "PAGES"][0]
    before = masked(changed)
    changed.payload = b"\1" + changed.payload[1:]
    tap.ok(masked(changed) != before, "and so is another byte in a page")


# ---- what must be taken ----------------------------------------------------------------

def replay(port, frames):
    """Say what the source said, each frame after the answers that it had waited for."""
    s = socket.create_connection(("127.0.0.1", port), DEADLINE)
    got, lock = [], threading.Condition()

    def listen_on():
        try:
            while True:
                f = read("D", lambda n: wire.recv_exact(s, n))
                with lock:
                    got.append(f.name)
                    lock.notify_all()
        except OSError:
            pass
    t = threading.Thread(target=listen_on, daemon=True)
    t.start()
    wanted = []
    for f in frames:
        if f.side == "D":
            if f.name != "PAGE_REQ":
                wanted.append(f.name)
            continue
        with lock:
            lock.wait_for(lambda: len([n for n in got if n != "PAGE_REQ"]) >= len(wanted),
                          DEADLINE)
        s.sendall(f.bytes())
    t.join(DEADLINE)
    s.close()
    return [n for n in got if n != "PAGE_REQ"], wanted


def taken(world):
    for kind, frames in load().items():
        with World() as w:
            b = w.daemon("b", DEST)
            got = wanted = None
            if kind == "file":
                path = w.file("stream")
                with open(path, "wb") as f:
                    f.write(b"".join(x.bytes() for x in frames))
                b.call("migrate-incoming", uri="file:" + path)
            else:
                got, wanted = replay(port_of(listen(b)), frames)
            info = b.until("completed", "failed")
            check = b.verdict()
            tap.ok(info["status"] == "completed" and check.get("verdict") == "passed" and
                   info["drover"]["digest"] == "equal" and b.running() and got == wanted,
                   f"{kind}: the recording of {len(frames)} frames is taken, the guest runs",
                   f"{brief(info)} {check}\nanswers {got}\nonce    {wanted}")


def size(world):
    n = os.path.getsize(CORPUS)
    tap.ok(n < 200 << 10, f"the recordings have {n >> 10} KiB")


if sys.argv[1:2] == ["--record"]:
    tapes = {}
    for what in CONFIGS:
        with World() as where:
            tapes[what] = make(where, what, sys.argv[2])
    save(tapes)
    sys.exit(0)
tap.run(produced, taken, size)
