#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""make bench-qmp: what a hostile client costs a quiet one.

The quiet client asks query-migrate, one after the other, for SECONDS (5), of a source whose
migration waits for migrate-continue; meanwhile another process sends nothing, 10 MB of garbage over and
over, 100,000 nested brackets over and over, or the two by turns. QEMU, which serves a client
a socket, gets the same over two sockets. Rounds alternate; the table goes between the marks
in Documentation/performance.rst. BENCH_QUICK=1 for a look.
"""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import World, listen, start  # noqa: E402
from bench import machine, progress, table, write  # noqa: E402
import droverqmp  # noqa: E402

QUICK = bool(os.environ.get("BENCH_QUICK"))
SECONDS = float(os.environ.get("SECONDS", "1" if QUICK else "5"))
ROUNDS = 1 if QUICK else 3
PAUSE = 0.001
WAITS = "pre-switchover"    # a migration that is not over, but sends nothing

# The attacker is a process of its own: a thread would slow down the clock of the quiet one.
# It reads what it is told, so that it is served as fast as it can send.
ATTACK = r"""
import random, socket, sys, threading
path, kinds = sys.argv[1], sys.argv[2].split(",")
data = {"garbage": random.Random(7).randbytes(10 << 20), "brackets": b"[" * 100000 + b"\xff"}
def drink(s):
    try:
        while s.recv(1 << 20):
            pass
    except OSError:
        pass
print("ready", flush=True)
while True:
    for kind in kinds:
        s = socket.socket(socket.AF_UNIX)
        s.connect(path)
        t = threading.Thread(target=drink, args=(s,))
        t.start()
        try:
            s.sendall(data[kind])
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        t.join()
        s.close()
"""
ATTACKS = {"nobody": None, "10 MB of garbage": "garbage", "100,000 brackets": "brackets",
           "both": "garbage,brackets"}


def peak_kb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))


class Drover:
    name = "droverd"

    def __init__(self, world):
        dst = world.daemon("b", "sim:size=64M")
        self.src = world.daemon("a", "sim:size=64M,seed=1")
        start(self.src, listen(dst), {"max-bandwidth": 0, "pause-before-switchover": True})
        self.src.until(WAITS)
        self.quiet, self.loud = self.src.client(), self.src.path
        self.pid = self.src.pid

    def close(self):
        pass


class Qemu:
    name = "QEMU"

    def __init__(self, world):
        socks = [world.file("qemu" + n) for n in ("1", "2")]
        argv = ["qemu-system-x86_64", "-machine", "pc", "-accel", "tcg", "-m", "64M", "-nodefaults",
                "-display", "none", "-S"]
        for s in socks:
            argv += ["-qmp", f"unix:{s},server=on,wait=off"]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        self.pid = self.process.pid
        end = time.monotonic() + 60
        while True:
            try:
                self.quiet = droverqmp.Client(socks[0])
                break
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                time.sleep(0.05)
        self.loud = socks[1]
        self.quiet.call("migrate-set-capabilities", capabilities=[
            {"capability": "pause-before-switchover", "state": True}])
        self.quiet.call("migrate", uri="exec:cat >/dev/null")
        self.quiet.status(WAITS)

    def close(self):
        self.process.kill()
        self.process.wait()


def measure(server, attack):
    """Latencies in s of the quiet client's requests while the attack goes on."""
    attacker = None
    if attack:
        attacker = subprocess.Popen([sys.executable, "-c", ATTACK, server.loud, attack],
                                    stdout=subprocess.PIPE)
        attacker.stdout.readline()
        time.sleep(0.2)
    took, end = [], time.monotonic() + SECONDS
    while time.monotonic() < end:
        begin = time.monotonic()
        if server.quiet.call("query-migrate")["return"]["status"] != WAITS:
            raise RuntimeError("the migration has ended")
        took.append(time.monotonic() - begin)
        time.sleep(PAUSE)
    if attacker:
        attacker.kill()
        attacker.wait()
        attacker.stdout.close()
    return took


def row(server, attack, took):
    took = sorted(took)
    cut = [took[len(took) // 2], took[min(len(took) - 1, len(took) * 99 // 100)], took[-1]]
    return [server, attack, str(len(took))] + [f"{t * 1000:.2f}" for t in cut]


def main():
    with World() as world:
        servers = [Drover(world), Qemu(world)]
        before = {s: peak_kb(s.pid) for s in servers}
        took = {(s.name, a): [] for s in servers for a in ATTACKS}
        for i in range(ROUNDS):
            for s in servers:
                for a, what in ATTACKS.items():
                    took[s.name, a] += measure(s, what)
            progress(f"round {i + 1} of {ROUNDS}")
        grown = ", ".join(f"{s.name} {(peak_kb(s.pid) - before[s]) / 1024:.1f} MiB" for s in servers)
        for s in servers:
            s.close()
    rows = [row(s, a, t) for (s, a), t in took.items()]
    head = ["server", "attacker sends", "requests", "median", "p99", "worst"]
    text = (f"{machine()};\nquery-migrate during a migration, ms; {ROUNDS} rounds of {SECONDS:g} s. "
            "Client, attacker and server share the CPUs.\nThe attacks made the peak memory (VmHWM) "
            f"grow by: {grown}.\n\n{table(head, rows)}\n")
    print(text)
    if not QUICK:
        write(text, "qmp")


if __name__ == "__main__":
    main()
