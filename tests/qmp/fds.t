#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""getfd and closefd: descriptors over the control socket, and a migration on them."""
import array
import os
import socket
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from droverqmp import Tap, World, match  # noqa: E402

OK = {"return": {}}
NONE = "No file descriptor supplied via SCM_RIGHTS"
tap = Tap()


def send(client, text, fds):
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
    client.sock.sendmsg([text.encode()], [rights])


def getfd(client, name, *fds):
    send(client, '{"execute":"getfd","arguments":{"fdname":"%s"}}' % name, fds)
    return client.answer()


def failed(answer, desc):
    return match({"error": {"class": "GenericError", "desc": "~" + desc}}, answer)


def ended(sock):
    """Has every copy of the other end been closed?"""
    sock.settimeout(5)
    try:
        return sock.recv(1) == b""
    except socket.timeout:
        return False


def pair():
    return socket.socketpair()


def given(client, name):
    """The near end of a socket whose far end the daemon has by this name, and alone."""
    near, far = pair()
    tap.ok(getfd(client, name, far.fileno()) == OK, f"getfd {name}")
    far.close()
    return near


def names(daemon):
    c, other = daemon.client(), daemon.client()
    tap.ok(failed(c.call("getfd", fdname="x"), NONE), "getfd without a descriptor")
    near = given(c, "one")
    tap.ok(failed(c.call("getfd", fdname="two"), NONE), "a descriptor is taken once")
    tap.ok(other.call("closefd", fdname="one") == OK and ended(near),
           "closefd, by another client, closes it")
    tap.ok(failed(c.call("closefd", fdname="one"), "^File descriptor named 'one' not found$"),
           "closefd twice")
    near = given(c, "one")
    again = given(c, "one")
    tap.ok(ended(near), "a name given again closes the first")
    c.call("closefd", fdname="one")
    tap.ok(ended(again), "and means the second")
    near, far = pair()
    tap.ok(failed(getfd(c, "7up", far.fileno()),
                  "^Parameter 'fdname' expects a name not starting with a digit$"), "a digit")
    far.close()
    tap.ok(ended(near), "what could not be named is closed")
    for name, what in (("", "no name"), ("n" * 64, "a long name")):
        near, far = pair()
        tap.ok(failed(getfd(c, name, far.fileno()), "^Parameter 'fdname' expects"), what)
        far.close()
        tap.ok(ended(near), "and is closed, too")


def many(daemon):
    c = daemon.client()
    near, far = pair()
    extra, extra_far = pair()
    tap.ok(getfd(c, "first", far.fileno(), extra_far.fileno()) == OK, "two in one message")
    far.close()
    extra_far.close()
    tap.ok(ended(extra), "the second is closed")
    c.call("closefd", fdname="first")
    tap.ok(ended(near), "the first was named")
    near, far = pair()
    send(c, '{"execute": "query-', [far.fileno()])
    far.close()
    c.raw('status"}{"execute":"getfd","arguments":{"fdname":"late"}}')
    tap.ok("return" in c.answer() and c.answer() == OK, "one that came before its command")
    c.call("closefd", fdname="late")
    near, far = pair()
    send(c, " ", [far.fileno()])
    far.close()
    c.close()
    tap.ok(ended(near), "a client that goes takes what was not named with it")
    c, kept = daemon.client(), []
    answer = OK
    while answer == OK and len(kept) < 100:
        near, far = pair()
        answer = getfd(c, f"n{len(kept)}", far.fileno())
        far.close()
        kept.append(near)
    tap.ok(failed(answer, "^fd 'n64': there are 64 named descriptors already$"),
           "the table is bounded", answer)
    tap.ok(all(c.call("closefd", fdname=f"n{i}") == OK for i in range(64)), "and can be emptied")


def use(a, b):
    near, far = pair()
    here, there = a.client(), b.client()
    tap.ok(getfd(here, "m", near.fileno()) == OK and getfd(there, "m", far.fileno()) == OK,
           "both daemons have an end")
    near.close()
    far.close()
    tap.ok(failed(here.call("migrate", uri="fd:other"),
                  "^File descriptor named 'other' has not been found$"), "not by another name")
    tap.ok(there.call("migrate-incoming", uri="fd:m") == OK, "the destination takes it")
    tap.ok(here.call("migrate", uri="fd:m") == OK, "the source, too")
    info = here.status("completed", "failed")
    tap.ok(info["status"] == "completed", "completed", info)
    tap.ok(there.status("completed", "failed")["status"] == "completed", "there, too")
    tap.ok(failed(here.call("closefd", fdname="m"), "not found"), "the name is used up")
    with open(os.devnull, encoding="ascii") as null:
        tap.ok(getfd(here, "null", null.fileno()) == OK, "any descriptor can be named")
    tap.ok(failed(here.call("migrate-incoming", uri="fd:null"), "^fd 'null': not a socket"),
           "but a device carries no migration")


with World() as w:
    da, db = w.start("a", "sim:size=32M,seed=2"), w.start("b", "sim:size=32M")
    for part, args in ((names, (da,)), (many, (da,)), (use, (da, db))):
        try:
            part(*args)
        except (OSError, TypeError) as e:
            tap.ok(False, part.__name__, repr(e))
tap.ok(not any(w.statuses.values()), "every droverd ended with status 0", w.statuses)
sys.exit(tap.done())
