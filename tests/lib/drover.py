# SPDX-License-Identifier: GPL-2.0-or-later
"""What the end-to-end tests, soaks, demo and bench share: daemons, VMMs, migrations.

The QMP client is that of the QMP tests. Programs are looked for in $B, or build/ of
this tree. Whatever a World starts, it ends, by its own handle, and its directory goes
with it. Every wait has a deadline; under a sanitizer all of them are longer.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "qmp"))
import droverqmp  # noqa: E402
from droverqmp import BUILD, DROVERCTL, DROVERD, ROOT, match  # noqa: E402,F401

VMM = os.path.join(BUILD, "drover-vmm")
SANITIZER = bool(os.environ.get("DROVER_SANITIZER"))
SLOW = 6 if SANITIZER else 1
DEADLINE = 30 * SLOW
droverqmp.DEADLINE = DEADLINE
DONE = ("completed", "failed", "cancelled")
SKIPPED = 77


class Tap(droverqmp.Tap):
    def skip(self, name, reason, count=1):
        for _ in range(count):
            self.n += 1
            print(f"ok {self.n} - {name} # SKIP {reason}", flush=True)

    def note(self, text):
        for line in str(text).splitlines():
            print("# " + line, flush=True)

    def run(self, *parts):
        """Each part with a World of its own; an exception in one is its failure."""
        for part in parts:
            begin = time.monotonic()
            try:
                with World(self) as world:
                    part(world)
            except Exception as e:
                self.ok(False, part.__name__, repr(e))
            self.note(f"{part.__name__}: {time.monotonic() - begin:.1f} s")
        sys.exit(self.done())


def skip_all(reason):
    print(f"1..0 # SKIP {reason}")
    sys.exit(0)


def hand_on_nice(pid):
    """Where sessions are scheduled as groups (sched_autogroup), nice ends at their borders."""
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    if nice:
        try:
            with open(f"/proc/{pid}/autogroup", "w") as f:
                f.write(str(nice))
        except OSError:
            pass


class Process:
    """A program started here, in its own process group so that a ^C is ours to handle."""

    def __init__(self, argv, log, **popen):
        self.argv, self.log, self.popen = argv, log, popen
        self.spawn()

    def spawn(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True, **self.popen)
        hand_on_nice(self.process.pid)

    @property
    def pid(self):
        return self.process.pid

    def text(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def wait(self, within=DEADLINE):
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            return None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        """SIGTERM; its exit status, None when it had to be killed."""
        if self.process.poll() is None:
            self.process.terminate()
        status = self.wait(20 * SLOW)
        if status is None:
            self.kill()
        return status


class Daemon(Process):
    """A droverd. self.qmp is a client that stays; self.client() makes another."""

    def __init__(self, world, name, guest, *args, program=DROVERD, **popen):
        self.name, self.path = name, os.path.join(world.dir, name + ".qmp")
        super().__init__([program, "--qmp", "unix:" + self.path, "--guest", guest, *args],
                         os.path.join(world.dir, name + ".log"), **popen)
        self.qmp = self.client()

    def restart(self):
        """The same command line again, after it was killed."""
        self.spawn()
        self.qmp = self.client()

    def client(self):
        end = time.monotonic() + DEADLINE
        while True:
            try:
                return droverqmp.Client(self.path)
            except (FileNotFoundError, ConnectionRefusedError):
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{self.name} does not answer: {self.text()}") from None
                time.sleep(0.005)

    def call(self, command, **args):
        """The command's return value; an error is an exception."""
        r = self.qmp.call(command, **args)
        if r is None or "return" not in r:
            raise RuntimeError(f"{self.name}: {command}: {r}")
        return r["return"]

    def order(self, command, within=DEADLINE):
        """stop or cont: refused while the VMM has not answered the one before; then again."""
        end = time.monotonic() + within
        while True:
            r = self.qmp.call(command)
            desc = (r or {}).get("error", {}).get("desc", "")
            if "has not answered the last stop or cont" not in desc or time.monotonic() > end:
                break
            time.sleep(0.005)
        if r is None or "return" not in r:
            raise RuntimeError(f"{self.name}: {command}: {r}")

    def error(self, command, **args):
        """The description of the error the command must fail with; None if it does not."""
        r = self.qmp.call(command, **args)
        return r["error"]["desc"] if r and "error" in r else None

    def info(self):
        return self.call("query-migrate")

    def status(self):
        return self.info().get("status", "none")

    def running(self):
        return self.call("query-status")["running"]

    def until(self, *wanted, within=DEADLINE):
        """Poll until the migration's status is one of these; the last answer, whatever it is."""
        end = time.monotonic() + within
        while True:
            info = self.info()
            if info.get("status") in wanted or time.monotonic() > end:
                return info
            time.sleep(0.005)

    def until_runs(self, wanted=True, within=DEADLINE):
        end = time.monotonic() + within
        while self.running() != wanted:
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True

    def verdict(self, within=DEADLINE):
        """The guest's own check of itself, once it is final."""
        end = time.monotonic() + within
        while True:
            check = self.info().get("guest-check", {})
            if check.get("verdict", "running") != "running" or time.monotonic() > end:
                return check
            time.sleep(0.01)

    def stop(self):
        """Ask it to quit; its exit status, None when it had to be killed."""
        if self.process.poll() is None:
            try:
                self.client().call("quit")
            except (OSError, RuntimeError, AssertionError):
                self.process.terminate()
        return self.end()


class Vmm(Process):
    """A drover-vmm, waited for until its agent socket is there."""

    def __init__(self, world, name, *args, **popen):
        self.name, self.agent = name, os.path.join(world.dir, name + ".agent")
        self.heartbeat = os.path.join(world.dir, name + ".heartbeat")
        super().__init__([VMM, "--agent", self.agent, "--heartbeat-file", self.heartbeat, *args],
                         os.path.join(world.dir, name + ".log"), **popen)
        end = time.monotonic() + DEADLINE
        # The socket's file is there before it listens.
        while "ready on" not in self.text():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{name} did not start: {self.text()}")
            time.sleep(0.005)

    def beats(self):
        """[(vcpu, count)] so far, in the order they came out of the guest."""
        try:
            with open(self.heartbeat) as f:
                lines = f.read().split("\n")[:-1]
        except FileNotFoundError:
            return []
        return [(int(w[0]), int(w[1])) for w in (line.split() for line in lines)]

    def stop(self):
        return self.end()


def no_kvm():
    """Why drover-vmm cannot run here; None when it can."""
    if not os.path.exists(VMM):
        return "drover-vmm is not built"
    with tempfile.TemporaryDirectory(prefix="drover-kvm-") as d:
        p = subprocess.Popen([VMM, "--agent", d + "/agent", "--mem", "16M"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)
        end = time.monotonic() + DEADLINE
        while p.poll() is None and not os.path.exists(d + "/agent") and time.monotonic() < end:
            time.sleep(0.01)
        p.terminate()
        out = p.communicate(timeout=DEADLINE)[0]
        return (out.strip() or "drover-vmm refuses") if p.returncode == SKIPPED else None


BEAT_STEP = 10      # drover-vmm writes down every tenth heartbeat and judges all of them


def beats_joined(*series):
    """None when one guest's heartbeats, over the VMMs it ran in, have neither gap nor repeat."""
    last = {}
    for beats in series:
        for vcpu, count in beats:
            if vcpu in last and count != last[vcpu] + BEAT_STEP:
                what = "repeat" if count <= last[vcpu] else "gap"
                return f"vcpu {vcpu}: {what}: {count} after {last[vcpu]}"
            last[vcpu] = count
    return None if last else "no heartbeat at all"


class World:
    """A directory and what runs in it, gone at the end."""

    def __init__(self, tap=None):
        self.tap = tap
        self.dir = tempfile.mkdtemp(prefix="drover-")
        self.started = []
        self.bad_before = tap.bad if tap else 0

    def file(self, name):
        return os.path.join(self.dir, name)

    def daemon(self, name, guest, *args, **popen):
        d = Daemon(self, name, guest, *args, **popen)
        self.started.append(d)
        return d

    def vmm(self, name, *args, **popen):
        v = Vmm(self, name, *args, **popen)
        self.started.append(v)
        return v

    def sims(self, a="sim:size=64M,dirty=20M", b="sim:size=64M"):
        return self.daemon("a", a), self.daemon("b", b)

    def end(self):
        """{name: exit status} of all that ran."""
        # daemons before the VMMs they serve
        statuses = {p.name: p.stop() for p in reversed(self.started)}
        self.logs = {p.name: p.text() for p in self.started}
        self.started = []
        return statuses

    def over(self):
        """End all that runs, early; the next may be started."""
        statuses = self.end()
        bad = {n: s for n, s in statuses.items() if s != 0}
        if bad:
            raise RuntimeError(f"exit statuses {bad}: {self.logs}")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        statuses = self.end()
        bad = {n: s for n, s in statuses.items() if s != 0}
        if self.tap and not exc[0]:
            if statuses:
                self.tap.ok(not bad, f"all of {', '.join(sorted(statuses))} end with status 0", bad)
        if self.tap and (exc[0] or bad or self.tap.bad > self.bad_before):
            for name, log in self.logs.items():
                self.tap.note(f"log of {name}, status {statuses[name]}:\n{log[-4000:]}")
        shutil.rmtree(self.dir, ignore_errors=True)


FAST = {"max-bandwidth": 0}


def listen(dst, uri="tcp:127.0.0.1:0", config=None, **more):
    """migrate-incoming; the URI to reach it by."""
    dst.call("migrate-incoming", uri=uri, **({"config": config} if config is not None else {}),
             **more)
    if not uri.startswith("tcp:"):
        return uri
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        for a in dst.info().get("socket-address", []):
            host = f"[{a['host']}]" if ":" in a["host"] else a["host"]
            return f"tcp:{host}:{a['port']}"
        time.sleep(0.005)
    raise RuntimeError(f"{dst.name} does not listen: {dst.info()}")


def port_of(uri):
    return int(uri.rsplit(":", 1)[1])


def start(src, uri, config=None):
    """migrate; again while the VMM has a stop or cont still under way."""
    end = time.monotonic() + DEADLINE
    while True:
        r = src.qmp.call("migrate", uri=uri, config={**FAST, **(config or {})})
        desc = (r or {}).get("error", {}).get("desc", "")
        if "has not answered the last request" not in desc or time.monotonic() > end:
            break
        time.sleep(0.005)
    if r is None or "return" not in r:
        raise RuntimeError(f"{src.name}: migrate: {r}")


def finish(src, dst, within=DEADLINE):
    """Both ends' last query-migrate, once both are over."""
    a = src.until(*DONE, within=within)
    # One that has failed before may say so until the next HELLO; one that got none waits on.
    if a.get("status") == "completed":
        return a, dst.until("completed", within=within)
    return a, dst.until("failed", "setup", within=5)


def follow(tap, name, src, dst, uri, config=None):
    """After one that failed a good migration to the same listener."""
    # The other side may still be busy with the end of the last one.
    dst.until("failed", "setup")
    start(src, uri, config)
    return good(tap, f"{name} follows, to the same listener", src, dst, finish(src, dst))


def migrate(src, dst, uri="tcp:127.0.0.1:0", config=None, dst_config=None):
    start(src, listen(dst, uri, dst_config), config)
    return finish(src, dst)


def good(tap, name, src, dst, ends, verify="digest"):
    """Did it arrive whole, and does it run on exactly one side?"""
    a, b = ends
    check = dst.verdict() if b.get("status") == "completed" else {}
    digest = b.get("drover", {}).get("digest", "")
    digest_ok = verify == "none" or digest.startswith("equal")
    states = src.call("query-status")["status"], dst.call("query-status")["status"]
    return tap.ok(a.get("status") == b.get("status") == "completed" and digest_ok and
                  check.get("verdict") == "passed" and states == ("postmigrate", "running"),
                  name, f"source: {brief(a)}\ndestination: {brief(b)}\ncheck: {check}\n"
                  f"run states: {states}")


def brief(info):
    """What a failure is understood by."""
    keys = ("status", "error-desc", "downtime", "expected-downtime", "total-time")
    short = {k: info[k] for k in keys if k in info}
    short["drover"] = {k: v for k, v in info.get("drover", {}).items()
                       if k in ("digest", "tracker", "zero-copy", "bad-pages", "late-pages",
                                "refused-connections", "in-doubt", "round")}
    return json.dumps(short)


def on_signal(signum, frame):
    raise SystemExit(128 + signum)


signal.signal(signal.SIGTERM, on_signal)
