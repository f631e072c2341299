#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The destination announces the guest: what a neighbour on the wire really sees.

Two network namespaces of this test's own. The daemons run in one, where veth0 and veth1
end; in the other a listener records every frame that comes out of them. Skipped where
namespaces are refused.
"""
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import (DEADLINE, DROVERD, Tap, brief, finish, good, listen,  # noqa: E402
                    migrate, skip_all, start)
from netns import End, inside, no_netns  # noqa: E402

RARP, ARP, MARK = 0x8035, 0x0806, 0x88b5
LISTENER = """
import json, socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
print("{}", flush=True)
while True:
    frame, (name, proto, kind, *_) = s.recvfrom(65536)
    if kind != 4 and proto in (0x8035, 0x0806, 0x88b5):
        print(json.dumps({"if": name, "frame": frame.hex()}), flush=True)
"""
SIM = "sim:size=16M"
QUICK = {"announce-initial": 1, "announce-step": 1, "announce-rounds": 4}
MAC, OTHER = "52:54:00:12:34:56", "02:00:00:00:00:0a"


class Wire:
    """The daemons' namespace, the neighbour's, and what has come out there."""

    def __init__(self):
        self.here, self.there = End(), End()
        self.here.ip("link", "set", "lo", "up")
        self.seen, self.marks, self.cond = [], 0, threading.Condition()
        for i in range(2):
            self.plug(i)
        self.listener = subprocess.Popen(
            [sys.executable, "-c", LISTENER], preexec_fn=self.there.enter,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.listener.stdout.readline()
        threading.Thread(target=self.read, daemon=True).start()

    def link(self, name):
        return json.loads(self.here.ip("-json", "link", "show", name))[0]

    def plug(self, i):
        """veth<i> here, peer<i> there, both up."""
        name, peer = f"veth{i}", f"peer{i}"
        self.here.ip("link", "add", name, "type", "veth", "peer", "name", peer, "netns",
                     str(self.there.holder.pid))
        self.here.ip("link", "set", name, "up")
        self.there.ip("link", "set", peer, "up")
        end = time.monotonic() + DEADLINE
        while self.link(name)["operstate"] != "UP":
            assert time.monotonic() < end, f"{name} does not come up"
            time.sleep(0.01)

    def read(self):
        for line in self.listener.stdout:
            m = json.loads(line)
            frame = bytes.fromhex(m["frame"])
            with self.cond:
                if frame[12:14] == struct.pack("!H", MARK):
                    self.marks += 1
                else:
                    self.seen.append((m["if"], frame, time.monotonic()))
                self.cond.notify_all()

    def take(self):
        """All frames since the last time: [(interface, frame, when)]. A mark of our own
        on each wire tells that nothing is under way any more."""
        with self.cond:
            before = self.marks
        inside(self.here.fd, self.mark)
        with self.cond:
            assert self.cond.wait_for(lambda: self.marks >= before + 2, DEADLINE), "no mark"
            seen, self.seen = self.seen, []
        return seen

    @staticmethod
    def mark():
        for name in ("veth0", "veth1"):
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
                s.bind((name, 0))
                s.send(b"\xff" * 6 + b"\2" + b"\0" * 5 + struct.pack("!H", MARK) + bytes(46))

    def close(self):
        self.listener.kill()
        self.listener.wait()
        for end in (self.here, self.there):
            end.close()


def mac_of(name):
    return wire.link(name)["address"]


def daemon(world, name, guest, *args):
    return world.daemon(name, guest, *args, preexec_fn=wire.here.enter)


def mac_bytes(mac):
    return bytes.fromhex(mac.replace(":", ""))


def frame(mac, ip4=None):
    """RARP, or with an address gratuitous ARP, as RFC 903 and RFC 5227 have it."""
    m, addr = mac_bytes(mac), socket.inet_aton(ip4 or "0.0.0.0")
    head = b"\xff" * 6 + m + struct.pack("!HHHBBH", ARP if ip4 else RARP, 1, 0x800, 6, 4,
                                         1 if ip4 else 3)
    return (head + m + addr + (bytes(6) if ip4 else m) + addr).ljust(60, b"\0")


def short(seen):
    return "\n".join(f"{name} {data.hex()}" for name, data, _ in seen)


tap = Tap()


def sees(name, expected, seen):
    """Exactly these frames, in this order on each interface."""
    ok = all([f for n, f, _ in seen if n == i] == [f for n, f in expected if n == i]
             for i in ("peer0", "peer1"))
    tap.ok(ok, name, f"expected\n{short([(*e, 0) for e in expected])}\nseen\n{short(seen)}")
    tap.note(name + ": ms between frames: " +
             " ".join(f"{(b[2] - a[2]) * 1000:.1f}" for a, b in zip(seen, seen[1:])))


def told(name, event, **data):
    got = (event or {}).get("data", {})
    error = data.pop("error", None)
    ok = (event is not None and {k: v for k, v in got.items() if k != "error"} == data and
          (error in got.get("error", "") if error else "error" not in got))
    tap.ok(ok, f"DROVER_ANNOUNCE: {name}", event)


def by_name(world):
    """A name alone: the interface's own MAC address, and each IPv4 address that it has."""
    a = daemon(world, "a", "sim:size=16M,dirty=1M", "--announce-if", "veth1")
    b = daemon(world, "b", SIM, "--announce-if", "veth0")
    # It comes after the start, as addresses do.
    wire.here.ip("address", "add", "192.0.2.1/24", "dev", "veth0")
    good(tap, "a migration", a, b, migrate(a, b, dst_config=QUICK))
    told("4 rounds of 2 frames", b.qmp.event("DROVER_ANNOUNCE"), rounds=4, frames=8, failed=0)
    mac = mac_of("veth0")
    sees("RARP and gratuitous ARP, the destination's alone",
         [("peer0", f) for f in (frame(mac), frame(mac, "192.0.2.1")) * 4], wire.take())
    wire.here.ip("address", "del", "192.0.2.1/24", "dev", "veth0")
    good(tap, "and back, with the defaults", b, a, migrate(b, a))
    told("5 rounds", a.qmp.event("DROVER_ANNOUNCE"), rounds=5, frames=5, failed=0)
    sees("RARP on the other's interface", [("peer1", frame(mac_of("veth1")))] * 5, wire.take())


def by_list(world):
    """The guest's MAC and IP addresses, on two interfaces."""
    a = daemon(world, "a", "sim:size=16M,dirty=1M")
    b = daemon(world, "b", SIM, "--announce-if", f"veth0,mac={MAC},ip=192.0.2.7,mac={OTHER}",
                     "--announce-if", f"veth1,ip=192.0.2.8,mac={MAC}")
    uri = listen(b, config=QUICK)
    b.call("migrate-set-config", **{"announce-rounds": 3})
    start(a, uri)
    good(tap, "a migration", a, b, finish(a, b))
    told("3 rounds, RUNTIME", b.qmp.event("DROVER_ANNOUNCE"), rounds=3, frames=18, failed=0)
    own = mac_of("veth1")
    zero = [("peer0", f) for f in (frame(MAC), frame(MAC, "192.0.2.7"), frame(OTHER))]
    one = [("peer1", f) for f in (frame(own), frame(own, "192.0.2.8"), frame(MAC))]
    sees("each interface's addresses, none of its own but those", (zero + one) * 3, wire.take())


def not_at_all(world):
    """No rounds, no interfaces, no migration: no frame."""
    a = daemon(world, "a", "sim:size=16M,dirty=1M")
    b = daemon(world, "b", SIM, "--announce-if", "veth0")
    text = a.error("migrate-incoming", uri="tcp:127.0.0.1:0", config={"announce-rounds": 3})
    tap.ok("announce-rounds" in text and "--announce-if" in text, f"without interfaces: {text}")
    listen(a)
    text = a.error("migrate-set-config", **{"announce-step": 7})
    tap.ok(text and "announce-step" in text and "--announce-if" in text and
           a.call("query-migrate-config")["announce-step"] == 100, f"nor at run time: {text}")
    a.call("migrate_cancel")
    a = daemon(world, "a2", "sim:size=16M,dirty=1M")
    good(tap, "announce-rounds 0", a, b, migrate(a, b, dst_config={"announce-rounds": 0}))
    good(tap, "to one without interfaces", b, a, migrate(b, a))
    uri = listen(b)
    start(a, uri, {"max-bandwidth": 1 << 20})
    a.until("active")
    a.call("migrate_cancel")
    info = a.until("cancelled", "completed")
    b.until("failed")
    tap.ok(info["status"] == "cancelled", "a migration that is cancelled", brief(info))
    sees("nothing", [], wire.take())
    tap.ok(not [e for d in (a, b) for e in d.qmp.events if e["event"] == "DROVER_ANNOUNCE"],
           "and no event")


def trouble(world):
    """What fails is told, and the guest runs all the same."""
    a = daemon(world, "a", "sim:size=16M,dirty=1M")
    b = daemon(world, "b", SIM, "--announce-if", "veth0", "--announce-if", f"veth1,mac={MAC}")
    wire.here.ip("link", "set", "veth0", "down")
    good(tap, "an interface is down", a, b, migrate(a, b, dst_config=QUICK))
    told("half of the frames", b.qmp.event("DROVER_ANNOUNCE"), rounds=4, frames=4, failed=4,
         error="interface veth0: send: Network is down")
    tap.ok("announce: interface veth0: send: Network is down (4 frames sent, 4 failed)" in
           b.text(), "and a warning in the log", b.text())
    wire.here.ip("link", "set", "veth0", "up")
    sees("the other interface's frames", [("peer1", frame(MAC))] * 4, wire.take())
    wire.here.ip("link", "del", "veth0")
    plan = {"initial": 1, "max": 5, "rounds": 2, "step": 1}
    b.call("announce-self", **plan)
    told("an interface that is gone", b.qmp.event("DROVER_ANNOUNCE"), id="", rounds=2, frames=2,
         failed=2, error="interface veth0: not found")
    wire.plug(0)
    wire.take()
    b.call("announce-self", **plan)
    told("and made anew", b.qmp.event("DROVER_ANNOUNCE"), id="", rounds=2, frames=4, failed=0)
    sees("frames on both", [("peer0", frame(mac_of("veth0"))), ("peer1", frame(MAC))] * 2,
         wire.take())


LONG = {"initial": 100000, "max": 100000, "rounds": 1000, "step": 1}


def by_hand(world):
    """announce-self: ids, interfaces, ranges."""
    a = daemon(world, "a", SIM, "--announce-if", f"veth0,mac={MAC}", "--announce-if",
                     f"veth1,mac={OTHER}")
    plan = {"initial": 1, "max": 1, "rounds": 2, "step": 1}
    a.call("announce-self", **plan, interfaces=["veth1"], id="x")
    told("by id", a.qmp.event("DROVER_ANNOUNCE"), id="x", rounds=2, frames=2, failed=0)
    sees("on one interface", [("peer1", frame(OTHER))] * 2, wire.take())
    a.call("announce-self", **plan, interfaces=[])
    told("an empty list is all", a.qmp.event("DROVER_ANNOUNCE"), id="", rounds=2, frames=4,
         failed=0)
    wire.take()
    a.call("announce-self", **LONG, id="x")
    a.call("announce-self", **LONG)
    a.call("announce-self", **plan, id="x")
    told("replaced by its id", a.qmp.event("DROVER_ANNOUNCE"), id="x", rounds=1, frames=2,
         failed=0, error="its id")
    told("by this one", a.qmp.event("DROVER_ANNOUNCE"), id="x", rounds=2, frames=4, failed=0)
    a.call("announce-self", **{**LONG, "rounds": 0})
    told("ended by rounds 0", a.qmp.event("DROVER_ANNOUNCE"), id="", rounds=1, frames=2,
         failed=0, error="its id")
    sees("8 frames", [("peer0", frame(MAC)), ("peer1", frame(OTHER))] * 4, wire.take())
    for args, word in (({"interfaces": ["veth0", "eth9"]}, "'interfaces[1]'"),
                       ({"interfaces": [1]}, "'interfaces[0]'"), ({"initial": -1}, "'initial'"),
                       ({"max": 100001}, "'max'"), ({"rounds": 1001}, "'rounds'"),
                       ({"step": 0}, "'step'")):
        text = a.error("announce-self", **{**plan, **args})
        tap.ok(text is not None and word in text, f"{args}: {text}")
    for i in range(16):
        a.call("announce-self", **LONG, id=f"id-{i}")
    text = a.error("announce-self", **LONG, id="one more")
    tap.ok(text is not None and "16" in text, f"17 at once: {text}")
    wire.take()
    b = daemon(world, "b", SIM)
    good(tap, "the guest leaves", a, b, migrate(a, b))
    ended = [a.qmp.event("DROVER_ANNOUNCE") for _ in range(16)]
    tap.ok(all(e and "does not run here" in e["data"]["error"] for e in ended),
           "no announcement goes on", ended)
    sees("no frame of a guest that has left", [], wire.take())
    for d, word in ((a, "does not run here"), (b, "--announce-if")):
        text = d.error("announce-self", **plan)
        tap.ok(text is not None and word in text, f"announce-self there: {text}")


def at_start(world):
    """A bad --announce-if is refused by name, and nothing is left."""
    drop = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"]
    cases = [(["nosuch0"], "interface nosuch0: not found", []),
             (["veth0", "nosuch0"], "interface nosuch0: not found", []),
             (["lo"], "interface lo: not an Ethernet interface", []),
             (["veth0", f"veth0,mac={MAC}"], "interface veth0: given twice", []),
             (["veth0,mac=1"], "interface veth0: mac: '1'", []),
             (["veth0,ip=1"], "interface veth0: ip: '1'", []),
             (["veth0"], "needs CAP_NET_RAW", drop)]
    path = world.file("x")
    for names, word, prefix in cases:
        args = [x for n in names for x in ("--announce-if", n)]
        p = subprocess.run([*prefix, DROVERD, "--qmp", "unix:" + path, "--guest", SIM, *args],
                           capture_output=True, text=True, timeout=DEADLINE,
                           stdin=subprocess.DEVNULL, preexec_fn=wire.here.enter)
        tap.ok(p.returncode == 1 and "--announce-if: " in p.stderr and word in p.stderr and
               not os.path.exists(path), p.stderr.strip(), p)
    args = ["--announce-if", "veth0"] * 65
    p = subprocess.run([DROVERD, "--qmp", "unix:" + path, "--guest", SIM, *args],
                       capture_output=True, text=True, timeout=DEADLINE,
                       stdin=subprocess.DEVNULL, preexec_fn=wire.here.enter)
    tap.ok(p.returncode == 2 and "too often" in p.stderr, "65 of them: usage", p)


reason = no_netns()
if reason:
    skip_all(f"no network namespaces: {reason}")
wire = Wire()
try:
    tap.run(by_name, by_list, not_at_all, trouble, by_hand, at_start)
finally:
    wire.close()
