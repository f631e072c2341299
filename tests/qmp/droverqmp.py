# SPDX-License-Identifier: GPL-2.0-or-later
"""What the QMP tests share: a droverd to talk to, a client, patterns, TAP.

Programs are looked for in $B, or build/ of this tree. Everything a test
makes lies in a directory of its own and goes with it; only processes started here
are ended, by their own handles.
"""
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("B", "build"))
DROVERD = os.path.join(BUILD, "droverd")
DROVERCTL = os.path.join(BUILD, "droverctl")
DEADLINE = 20


class Tap:
    def __init__(self):
        self.n = self.bad = 0

    def ok(self, good, name, why=""):
        self.n += 1
        if not good:
            self.bad += 1
        print(f"{'ok' if good else 'not ok'} {self.n} - {name}", flush=True)
        if not good and why:
            for line in str(why).splitlines():
                print("#   " + line, flush=True)
        return bool(good)

    def done(self):
        print(f"1..{self.n}")
        return 1 if self.bad else 0


class Client:
    """One connection. Events are kept in .events until somebody asks."""

    def __init__(self, path, negotiate=True, enable=None):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(DEADLINE)
        self.sock.connect(path)
        self.buf = b""
        self.events = []
        self.greeting = self.message()
        if negotiate:
            args = {"enable": enable} if enable else {}
            assert self.call("qmp_capabilities", **args) == {"return": {}}

    def message(self):
        """Next message of any kind; None when the daemon has closed."""
        while b"\n" not in self.buf:
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self.buf += data
        line, self.buf = self.buf.split(b"\n", 1)
        return json.loads(line)

    def raw(self, data):
        self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def answer(self):
        """Next message that is no event."""
        while True:
            m = self.message()
            if m is None or "event" not in m:
                return m
            self.events.append(m)

    def ask(self, request):
        self.raw(json.dumps(request))
        return self.answer()

    def call(self, command, **args):
        request = {"execute": command}
        if args:
            request["arguments"] = {k.replace("_", "-"): v for k, v in args.items()}
        return self.ask(request)

    def event(self, name, within=DEADLINE, **data):
        """Wait for an event with these data members; None if it does not come."""
        end = time.monotonic() + within
        while True:
            for i, ev in enumerate(self.events):
                if ev["event"] == name and match(data, ev.get("data", {})):
                    return self.events.pop(i)
            left = end - time.monotonic()
            if left <= 0:
                return None
            self.sock.settimeout(left)
            try:
                m = self.message()
            except socket.timeout:
                return None
            finally:
                self.sock.settimeout(DEADLINE)
            if m is None:
                return None
            if "event" in m:
                self.events.append(m)

    def status(self, *wanted, within=DEADLINE):
        """Poll query-migrate until its status is one of these; the last answer."""
        end = time.monotonic() + within
        while True:
            info = self.call("query-migrate")["return"]
            if info.get("status") in wanted or time.monotonic() > end:
                return info
            time.sleep(0.02)

    def info(self, statuses, pattern, within=DEADLINE):
        """Poll query-migrate until it matches; None, or the last answer when it does not."""
        end = time.monotonic() + within
        while True:
            info = self.call("query-migrate")["return"]
            if (not statuses or info.get("status") in statuses) and match(pattern, info):
                return None
            if time.monotonic() > end:
                return info
            time.sleep(0.02)

    def close(self):
        self.sock.close()


class Daemon:
    """A droverd, or what `command` starts on $SOCKET, for the guest $GUEST."""

    def __init__(self, directory, name, guest, *args, command=None, **popen):
        self.path = os.path.join(directory, name + ".qmp")
        self.log = os.path.join(directory, name + ".log")
        argv = [DROVERD, "--qmp", "unix:" + self.path, "--guest", guest, *args]
        if command:
            argv = [w.replace("$SOCKET", self.path).replace("$GUEST", guest)
                    for w in shlex.split(command)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **popen)
        end = time.monotonic() + DEADLINE
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("droverd did not start: " + self.text())
            time.sleep(0.005)

    def answers(self):
        """The socket's file is there before somebody listens on it."""
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(self.path) == 0

    def text(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def client(self, **kw):
        return Client(self.path, **kw)

    def wait(self, within=DEADLINE):
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            return None

    def stop(self):
        """Ask it to quit; its exit status (None: it had to be killed)."""
        if self.process.poll() is None:
            try:
                self.client().call("quit")
            except (OSError, AssertionError):
                self.process.terminate()
        status = self.wait()
        if status is None:
            self.process.kill()
            self.process.wait()
        return status


class World:
    """A directory and daemons in it, gone at the end."""

    def __init__(self, command=None):
        self.command = command
        self.dir = tempfile.mkdtemp(prefix="drover-qmp-")
        self.daemons = {}

    def start(self, name, guest, *args, **kw):
        self.daemons[name] = Daemon(self.dir, name, guest, *args, command=self.command, **kw)
        return self.daemons[name]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.statuses = {n: d.stop() for n, d in self.daemons.items()}
        if exc[0] or any(self.statuses.values()):
            for n, d in self.daemons.items():
                print(f"# {n}: exit status {self.statuses[n]}: " + d.text().replace("\n", "\n# "))
        shutil.rmtree(self.dir, ignore_errors=True)


def match(pattern, value):
    """Objects match by subset, "~x" by regular expression, "*" anything."""
    if pattern == "*":
        return True
    if isinstance(pattern, str) and pattern.startswith("~"):
        return isinstance(value, str) and re.search(pattern[1:], value) is not None
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(
            (k[1:] not in value) if k.startswith("!") else k in value and match(v, value[k])
            for k, v in pattern.items())
    if isinstance(pattern, list):
        return isinstance(value, list) and len(pattern) == len(value) and all(
            match(p, v) for p, v in zip(pattern, value))
    return type(pattern) is type(value) and pattern == value
