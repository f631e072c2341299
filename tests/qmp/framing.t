#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes on the control socket: how requests are cut out of the stream, what bad input
does, and what several clients see of each other."""
import json
import os
import socket
import stat
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from droverqmp import Tap, World, match  # noqa: E402

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
    c.raw('{"execute": "\\u0071uery-status"}')
    tap.ok(good(c.answer()), "escapes in a command's name")


BAD = [
    ('{"execute": }\n', "a value is missing"),
    ("{'execute': 'query-status'}\n", "single quotes"),
    ('{"execute": "query-status",}\n', "a trailing comma"),
    ("foo\n", "a bare word"),
    ("]\n", "a stray bracket"),
    ('{"execute": "query-status" "id": 1}\n', "a missing comma"),
    ('{"a": 01}\n', "a number with a leading zero"),
    ('{"a": "\\ud800"}\n', "half a surrogate pair"),
    (b'{"a": "\xc0\xaf"}\n', "overlong UTF-8"),
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


def slow(a):
    """Sends and never reads."""
    deaf, other = a.client(), a.client()
    deaf.sock.settimeout(5)
    dropped = False
    try:
        for _ in range(4000):
            deaf.raw('{"execute": "query-migrate-config"}' * 20)
    except OSError:
        dropped = True
    tap.ok(dropped, "a client that never reads is dropped")
    t = time.monotonic()
    tap.ok(good(other.call("query-status")) and time.monotonic() - t < 1, "others don't notice")


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
    for part in (requests, bad_input, several, slow, huge, socat):
        try:
            part(daemon)
        except (OSError, TypeError) as e:
            tap.ok(False, part.__name__, repr(e))
tap.ok(world.statuses == {"a": 0}, "droverd ends with status 0", world.statuses)
sys.exit(tap.done())
