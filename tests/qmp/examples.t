#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every example of Documentation/qmp.rst, through socat, gives what the page says.

Examples are its literal blocks. They are walked in their order with two daemons, source and
destination, the source where the page does not say. "$ " runs a shell command, and what
follows is its output; "->" sends, "<-" is read next, but for events that are left out.
192.0.2.7 and 4444 stand for an address of ours, /run/drover/guest.qmp for the source."""
import json
import os
import re
import socket
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from droverqmp import ROOT, Tap, World  # noqa: E402

PAGE = os.path.join(ROOT, "Documentation", "qmp.rst")
LEAST = 8
WAIT = "60"
STEP = re.compile(r"(?:(source|destination) )?(->|<-|\$) ?(.*)")
tap = Tap()


def blocks():
    """(line number, lines) of each literal block."""
    number, block = 0, None
    with open(PAGE, encoding="utf-8") as f:
        for n, line in enumerate(f, 1):
            if block is not None and line.strip() and not line.startswith(" "):
                yield number, block
                block = None
            elif block is not None and line.strip():
                block.append(line.strip())
            if block is None and line.rstrip().endswith("::") and not line.startswith(".. "):
                number, block = n, []
    if block:
        yield number, block


def steps(block):
    """[side, what, text] with lines that go on joined; output of a shell follows its "$"."""
    out = []
    for line in block:
        m = STEP.fullmatch(line)
        if m:
            out.append([m[1] or "source", m[2], m[3]])
        elif not out:
            raise ValueError(f"no request and no answer: {line}")
        elif out[-1][1] in "$=" and complete(out[-1][2]):
            out.append(["source", "=", line])
        else:
            out[-1][2] += " " + line
    return out


def complete(text):
    """Is this a whole command or a whole value?"""
    if text.startswith("{"):
        try:
            pattern(text)
        except ValueError:
            return False
    return not text.endswith("|")


def pattern(text):
    """JSON in which ... may stand for a value, and for further members or elements."""
    out, stack, at = "", [], 0
    for m in re.finditer(r'"(?:[^"\\]|\\.)*"|\.\.\.|[{}\[\]]', text):
        out += text[at:m.start()]
        at = m.end()
        token = m[0]
        if token in "{[":
            stack.append(token)
        elif token in "}]":
            stack = stack[:-1]
        elif token == "..." and stack[-1:] == ["{"] and not out.rstrip().endswith(":"):
            token = '"...": "..."'
        elif token == "...":
            token = '"..."'
        out += token
    return json.loads(out + text[at:])


def same(want, got):
    if want == "...":
        return True
    if isinstance(want, dict):
        return isinstance(got, dict) and ("..." in want or set(want) == set(got)) and \
            all(k in got and same(v, got[k]) for k, v in want.items() if k != "...")
    if isinstance(want, list) and "..." in want:
        rest = iter(got)
        return all(any(same(w, g) for g in rest) for w in want if w != "...")
    if isinstance(want, list):
        return isinstance(got, list) and len(want) == len(got) and all(map(same, want, got))
    return type(want) is type(got) and want == got


class Socat:
    """A connection held by socat."""

    def __init__(self, path, negotiate):
        self.process = subprocess.Popen(
            ["socat", "-t", WAIT, "-T", WAIT, "-", "UNIX-CONNECT:" + path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.read()
        if negotiate:
            self.write('{"execute": "qmp_capabilities"}')
            self.read()

    def write(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def read(self):
        return json.loads(self.process.stdout.readline() or '"the connection was closed"')

    def close(self):
        self.process.stdin.close()
        self.process.kill()
        self.process.stdout.close()
        self.process.wait()


def expect(conn, want):
    """None, or what came that should not have."""
    while True:
        got = conn.read()
        if same(want, got):
            return None
        if not isinstance(got, dict) or "event" not in got:
            return json.dumps(got)


def walk(number, block, daemons, ours):
    conns, output = {}, []
    try:
        for i, (side, what, text) in enumerate(steps(block)):
            text = ours(text)
            why = None
            if what == "$":
                p = subprocess.run(["sh", "-c", text], check=True, capture_output=True, text=True)
                output = p.stdout.splitlines()
                continue
            if what == "=":
                got = output.pop(0) if output else "null"
                why = None if same(pattern(text), json.loads(got)) else got
            else:
                if side not in conns:
                    conns[side] = Socat(daemons[side].path, "qmp_capabilities" not in text)
                if what == "->":
                    conns[side].write(text)
                    continue
                why = expect(conns[side], pattern(text))
            if not tap.ok(why is None, f"line {number}, step {i + 1}: {text[:60]}",
                          f"wanted {text}\ngot    {why}"):
                break
        tap.ok(not output, f"line {number}: no output but this", output)
    finally:
        for c in conns.values():
            c.close()


with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    port = str(s.getsockname()[1])
n = 0
with World() as world:
    world.start("source", "sim:size=64M,dirty=5M,seed=5")
    world.start("destination", "sim:size=64M")

    def translate(text):
        return text.replace("192.0.2.7", "127.0.0.1").replace("4444", port).replace(
            "/run/drover/guest.qmp", world.daemons["source"].path)

    for where, lines in blocks():
        n += 1
        try:
            walk(where, lines, world.daemons, translate)
        except (OSError, ValueError, subprocess.CalledProcessError) as e:
            tap.ok(False, f"line {where}", repr(e))
tap.ok(n >= LEAST, f"the page has at least {LEAST} examples", n)
tap.ok(not any(world.statuses.values()), "every droverd ended with status 0", world.statuses)
sys.exit(tap.done())
