#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes on the control socket: how requests are cut out of the stream, what bad input
does, and what several clients see of each other."""
import json
import os
import random
import socket
import stat
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from droverqmp import Tap, World, match  # noqa: E402

# The guest's 16 MiB, and what several clients may make us hold.
PEAK_KB = 96 << 10
STATUS = '{"execute": "query-status"}'
tap = Tap()


def good(answer):
    return match({"return": {"status": "*"}}, answer)


def requests(a):
    c = a.client()
    c.raw(STATUS + "\n" + STATUS + STATUS + " \t\r\n" + STATUS)
    tap.ok(all(good(c.answer()) for _ in range(4)), "four requests in one write")
    for byte in STATUS.encode():
        c.raw(bytes([byte]))
    tap.ok(good(c.answer()), "one request in many writes, no newline")
    c.raw('{"execute":\n\n"query-status"\n,"id":\t3}')
    tap.ok(match({"return": {}, "id": 3}, c.answer()), "white space anywhere")
    c.raw("{'execute': 'query-status'}")
    tap.ok(good(c.answer()), "single quotes")
    c.raw('{"execute": "\\u0071uery-status"}')
    tap.ok(good(c.answer()), "escapes in a command's name")


BAD = [
    ('{"execute": }\n', "a value is missing"),
    ("{'execute\": 'query-status'}\n", "quotes that don't match"),
    ('{"execute": "query-status",}\n', "a trailing comma"),
    ("foo\n", "a bare word"),
    ("]\n", "a stray bracket"),
    ('{"execute": "query-status" "id": 1}\n', "a missing comma"),
    ('{"a": 01}\n', "a number with a leading zero"),
    ('{"a": "\\ud800"}\n', "half a surrogate pair"),
    (b'{"a": "\xc0\xaf"}\n', "overlong UTF-8"),
    (b'{"a": "\xe2\x82"}\n', "UTF-8 cut short"),
    (b'{"a": "\xed\xa0\x80"}\n', "a surrogate in UTF-8"),
    (b'{"a": "\xf4\x90\x80\x80"}\n', "a character above U+10FFFF"),
    (b'{"a": "\x00"}\n', "a NUL byte"),
    ("[" * 3000 + "]" * 3000 + "\n", "nesting without end"),
    ("[1, 2]\n", "an array"),
    ('"text"\n', "a string"),
    ("null\n", "null"),
    ("17\n", "a number"),
]


def bad_input(a):
    for text, what in BAD:
        c = a.client()
        c.raw(text)
        first = c.answer()
        c.raw("\xff" if isinstance(text, str) else b"\xff")
        c.raw('{"execute": "query-status", "id": "after"}')
        answer = c.answer()
        while answer and answer.get("id") != "after":
            answer = c.answer()
        tap.ok(match({"error": {"class": "GenericError"}, "!id": 0}, first) and
               match({"return": {}, "id": "after"}, answer), f"{what}: refused, the next works",
               json.dumps([first, answer]))
        c.close()


def several(a):
    one, two, mute = a.client(), a.client(), a.client(negotiate=False)
    tap.ok(match({"QMP": {"version": {"qemu": {"major": 11}}, "capabilities": ["oob"]}},
                 mute.greeting), "greeting", json.dumps(mute.greeting))
    tap.ok(match({"error": {"class": "CommandNotFound",
                            "desc": "~Expecting capabilities negotiation"}},
                 mute.call("query-status")), "no command before negotiation")
    tap.ok(match({"error": {"desc": "~does not accept value 'x'"}},
                 mute.call("qmp_capabilities", enable=["x"])), "an unknown capability")
    tap.ok(mute.call("qmp_capabilities", enable=["oob"]) == {"return": {}}, "oob")
    tap.ok(match({"return": {}, "id": 1}, mute.ask({"exec-oob": "migrate_cancel", "id": 1})),
           "exec-oob")
    one.raw('{"execute": "query-')
    tap.ok(good(two.call("query-status")), "half a request of one client hinders no other")
    one.raw('status"}')
    tap.ok(good(one.answer()), "and is completed later")
    one.close()
    tap.ok(good(two.call("query-status")), "a client that goes away does not matter")


def peak_kb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))


def slow(a):
    """Sends and does not read: it waits, with what it has sent; nobody else does."""
    deaf, other = a.client(), a.client()
    before = peak_kb(a.process.pid)
    one = b'{"execute": "query-migrate-config"}'
    data, sent = one * 40000, 0
    deaf.sock.settimeout(1)
    try:
        while sent < len(data):
            sent += deaf.sock.send(data[sent:sent + 65536])
    except socket.timeout:
        pass
    tap.ok(sent < len(data), "who does not read can't go on sending", sent)
    t = time.monotonic()
    tap.ok(good(other.call("query-status")) and time.monotonic() - t < 2, "others don't notice")
    grown = peak_kb(a.process.pid) - before
    tap.ok(grown < 4096, "what waits for it is bounded", f"{grown} kB")
    deaf.sock.settimeout(20)
    answers = sum("return" in deaf.answer() for _ in range(sent // len(one)))
    tap.ok(answers == sent // len(one), "when it reads it gets every answer", answers)
    deaf.raw(data[sent:sent - sent % len(one) + len(one)] if sent % len(one) else b"")
    tap.ok(sent % len(one) == 0 or "return" in deaf.answer(), "and half a request can be ended")
    tap.ok(good(deaf.call("query-status")), "and it is served on")


def huge(a):
    c = a.client()
    c.raw('{"execute": "')
    try:
        for _ in range(40):
            c.raw("a" * 65536)
        c.raw('"}')
        answer = c.answer()
    except OSError:
        answer = None
    tap.ok(answer is None or "error" in answer, "a request of 2.5 MiB is refused",
           json.dumps(answer)[:200])
    tap.ok(good(a.client().call("query-status")), "and the daemon serves on")


def limits(a):
    """Beyond a limit there is one error, and the same connection goes on."""
    c = a.client()
    c.raw('{"execute": "' + "a" * (2 << 20) + '"}' + STATUS)
    tap.ok("error" in c.answer() and good(c.answer()), "too long: one error, the next works")
    for depth, works in ((62, True), (1000, False)):
        c.raw('{"execute": "query-status", "id": ' + "[" * depth + "]" * depth + "}")
        answer = c.answer()
        tap.ok(("return" in answer) == works and ("error" in answer) != works,
               f"{depth} levels in an id: " + ("answered" if works else "refused"),
               json.dumps(answer)[:200])
        tap.ok(good(c.call("query-status")), "the next works")
    c.raw('{"execute": "query-status", "id": [' + "0," * 200000 + "0]}" + STATUS)
    tap.ok("error" in c.answer() and good(c.answer()), "too many values: the same")


def pump(sock, data):
    """Send all of it, and throw away what is answered meanwhile."""
    def drink():
        try:
            while sock.recv(1 << 20):
                pass
        except OSError:
            pass
    reader = threading.Thread(target=drink)
    reader.start()
    try:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    reader.join()


def flood(a):
    """10 MB of garbage, then 100,000 brackets: nobody else is kept waiting."""
    rnd = random.Random(7)
    other = a.client()
    for data, what in ((rnd.randbytes(10 << 20), "10 MB of garbage"),
                       (b"[" * 100000, "100,000 brackets"),
                       (b'{"a":' * 100000, "100,000 objects, one in the other")):
        noisy = a.client(negotiate=False)
        thread = threading.Thread(target=pump, args=(noisy.sock, data))
        thread.start()
        worst = n = 0
        while thread.is_alive() or n < 20:
            t = time.monotonic()
            if not good(other.call("query-status")):
                worst = float("inf")
            worst = max(worst, time.monotonic() - t)
            n += 1
            time.sleep(0.005)
        thread.join()
        tap.ok(worst < 2, f"{what}: another client waits less than 2 s", f"{worst} s of {n}")
    peak = peak_kb(a.process.pid)
    limit = PEAK_KB * (8 if "DROVER_SANITIZER" in os.environ else 1)
    tap.ok(peak < limit, "the memory of all this is bounded", f"{peak} kB")


def socat(a):
    """Half-closes at once, as `printf ... | socat - UNIX:PATH` does."""
    s = socket.socket(socket.AF_UNIX)
    s.connect(a.path)
    s.sendall(b'{"execute":"qmp_capabilities"}\n{"execute":"query-version"}\n')
    s.shutdown(socket.SHUT_WR)
    data = b""
    while True:
        part = s.recv(65536)
        if not part:
            break
        data += part
    tap.ok(data.count(b"\r\n") == 3 and b'"package"' in data,
           "a client that closes its side gets its answers first", data)


with World() as world:
    daemon = world.start("a", "sim:size=16M")
    tap.ok(stat.S_IMODE(os.stat(daemon.path).st_mode) == 0o600, "the socket has mode 0600")
    for part in (requests, bad_input, several, slow, huge, limits, flood, socat):
        try:
            part(daemon)
        except (OSError, TypeError) as e:
            tap.ok(False, part.__name__, repr(e))
tap.ok(world.statuses == {"a": 0}, "droverd ends with status 0", world.statuses)
sys.exit(tap.done())
