# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots the test guest, and turns what its tests print into one TAP stream.

A guest that dies or hangs fails the test it was at; another one is booted for the rest.
Called by run.sh.
"""
import argparse
import os
import re
import selectors
import shlex
import signal
import subprocess
import sys
import time

RESULT = re.compile(r"^(ok|not ok)\b *\d*(?: *-)? *(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)")


class Tap:
    """On stdout, and in a file: who reads stdout may keep the names for himself."""

    def __init__(self, path):
        self.n = 0
        self.failed = 0
        self.file = open(path, "w", encoding="utf-8")

    def line(self, text):
        print(text, flush=True)
        print(text, file=self.file, flush=True)

    def result(self, good, name):
        self.n += 1
        self.failed += not good
        self.line(f"{'ok' if good else 'not ok'} {self.n} - {name}")

    def note(self, text):
        self.line(f"# {text}")

    def end(self):
        self.line(f"1..{self.n}")
        return 1 if self.failed or not self.n else 0


class Test:
    """One run of one program. Its own numbers are checked, then forgotten."""

    def __init__(self, name, switch, tap, control):
        self.name, self.switch, self.tap, self.control = name, switch, tap, control
        self.count = self.bad = 0
        self.plan = None
        self.faults = []
        self.broken = []

    def line(self, text):
        m = RESULT.match(text)
        if m:
            self.count += 1
            good = m.group(1) == "ok"
            self.bad += not good
            if not self.control:
                self.tap.result(good, f"{self.name}: {m.group(2)}")
            elif not good:
                self.broken.append(m.group(2))
        elif PLAN.match(text):
            self.plan = int(PLAN.match(text).group(1))
        elif text.startswith("Bail out!"):
            # The whole stream need not end with one test.
            self.faults.append(text)
        elif text.strip():
            self.tap.note(f"{self.name}: {text.removeprefix('# ')}")

    def end(self, rc):
        faults = list(self.faults)
        if rc in (137, 143):
            faults.append("timed out or killed")
        elif self.plan is None:
            faults.append(f"no plan, exit status {rc}")
        elif self.plan != self.count or not self.count:
            faults.append(f"{self.count} results, planned were {self.plan}")
        elif rc and not self.bad and not self.control:
            faults.append(f"exit status {rc}, though each result was good")
        elif rc == 0 and self.bad:
            faults.append("exit status 0, though a result was bad")
        if self.control:
            return self.end_control(faults)
        for f in faults:
            self.tap.note(f"{self.name}: {f}")
        self.tap.result(not faults, f"{self.name}: ends well, no complaint of the kernel")

    def end_control(self, faults):
        """With its mechanism off the test must fail, and at the right place."""
        hits = [b for b in self.broken if self.control in b]
        self.tap.note(f"{self.name}, debug={self.switch}: not ok: " + (hits[0] if hits else "-"))
        for f in faults:
            self.tap.note(f"{self.name}, debug={self.switch}: {f}")
        self.tap.result(bool(hits), f"{self.name}: debug={self.switch} breaks \"{self.control}\"")


def pack(root, out):
    """An initramfs; entries are owned by root whoever builds it."""
    find = subprocess.run(["find", ".", "-mindepth", "1", "-printf", "%P\\0"], cwd=root,
                          check=True, capture_output=True)
    with open(out, "wb") as f:
        cpio = subprocess.Popen(["cpio", "-o", "-0", "-H", "newc", "-R", "0:0", "--quiet"],
                                cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        gzip = subprocess.Popen(["gzip", "-1"], stdin=cpio.stdout, stdout=f)
        cpio.stdin.write(find.stdout)
        cpio.stdin.close()
        if cpio.wait() or gzip.wait():
            sys.exit("boot.py: no initramfs")


def qemu(args, initrd, console):
    half = args.memory // 2
    cpus = max(1, int(os.environ.get("VM_CPUS", "2")) // 2)
    node = [["-object", f"memory-backend-ram,id=m{i},size={half}M", "-numa",
             f"node,nodeid={i},cpus={i * cpus}-{i * cpus + cpus - 1},memdev=m{i}"] for i in (0, 1)]
    # Who kills us from outside ends the guest, too.
    cmd = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64",
           "-accel", os.environ.get("VM_ACCEL", "tcg,thread=multi"), "-smp", f"{2 * cpus},sockets=2", "-cpu", "max",
           "-m", str(args.memory), *node[0], *node[1], "-nodefaults", "-display", "none",
           "-monitor", "none", "-no-reboot", "-kernel", args.kernel, "-initrd", initrd,
           "-append", "console=ttyS0 panic=-1 oops=panic tsc=unstable "
                      "quiet loglevel=5 nokaslr "
                      # What the kernel does not know is in the environment of init.
                      f"TIMEOUT_SCALE={os.environ.get('TIMEOUT_SCALE', '1')} " + args.append,
           "-serial", f"file:{console}", "-serial", "stdio",
           "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", *shlex.split(args.qemu)]
    return subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, start_new_session=True)


def lines(proc, deadline):
    """Lines as they come; None when the time is over."""
    sel = selectors.DefaultSelector()
    sel.register(proc.stdout, selectors.EVENT_READ)
    rest = b""
    while True:
        if time.monotonic() >= deadline():
            yield None
            return
        if not sel.select(1.0):
            continue
        data = os.read(proc.stdout.fileno(), 65536)
        if not data:
            if rest:
                yield rest.decode(errors="replace")
            return
        *whole, rest = (rest + data).split(b"\n")
        for w in whole:
            yield w.decode(errors="replace").rstrip("\r")


def boot(args, todo, tap, controls, end):
    """Runs tests of the list, in order. Returns how many are dealt with."""
    with open(os.path.join(args.root, "tests/list"), "w", encoding="ascii") as f:
        f.writelines(f"{name} {seconds} {switch}\n" for name, seconds, switch in todo)
    initrd, console = args.root + ".gz", args.root + ".console"
    pack(args.root, initrd)
    proc = qemu(args, initrd, console)
    scale = max(1, int(os.environ.get("TIMEOUT_SCALE", "1")))
    # init's own timeout comes first, unless the guest as a whole hangs.
    limit = time.monotonic() + 120 * scale
    test, ended, over, done = None, 0, False, False
    for text in lines(proc, lambda: min(limit, end)):
        if text is None:
            over = True
        elif text.startswith("@@ begin "):
            name, switch = text.split()[2:4]
            test = Test(name, switch, tap, controls.get((name, switch)))
            limit = time.monotonic() + int(todo[ended][1]) + 30 * scale
        elif text.startswith("@@ end ") and test:
            test.end(int(text.split()[3]))
            test = None
            ended += 1
            limit = time.monotonic() + 30 * scale
        elif text.startswith("@@ fault ") and test:
            test.faults.append(text.removeprefix("@@ fault "))
        elif text == "@@ scan":
            limit = time.monotonic() + 120 * scale
        elif text == "@@ done":
            done = True
        elif test:
            test.line(text)
        elif text.strip():
            tap.note(text.removeprefix("# "))
    try:
        proc.wait(0 if over else 10)
    except subprocess.TimeoutExpired:
        os.killpg(proc.pid, signal.SIGKILL)
        proc.wait()
    if args.console or not done:
        with open(console, encoding="ascii", errors="replace") as f:
            for text in f.read().splitlines()[-400 if args.console else -60:]:
                tap.note(f"console: {text.rstrip()}")
    if done:
        return ended
    if not test and not ended:
        tap.result(False, "the guest does not boot")
        return len(todo)
    at = test.name if test else todo[ended][0] if ended < len(todo) else "the end"
    tap.result(False, f"{at}: the guest {'hangs' if over else 'has died'}")
    return ended + 1


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--kernel", required=True)
    p.add_argument("--root", required=True)
    p.add_argument("--limit", type=float, default=900)
    p.add_argument("--memory", type=int, default=1024)
    p.add_argument("--append", default=os.environ.get("VM_APPEND", ""))
    p.add_argument("--qemu", default=os.environ.get("VM_QEMU", ""))
    p.add_argument("--controls")
    p.add_argument("--tap", default=os.devnull)
    p.add_argument("--console", action="store_true")
    args = p.parse_args()
    controls = {}
    if args.controls:
        with open(args.controls, encoding="ascii") as f:
            for row in f:
                name, switch, text = row.rstrip("\n").split(" ", 2)
                controls[name, switch] = text
    with open(os.path.join(args.root, "tests/list"), encoding="ascii") as f:
        todo = [tuple(row.split()) for row in f]
    tap = Tap(args.tap)
    end = time.monotonic() + args.limit * max(1, int(os.environ.get("TIMEOUT_SCALE", "1")))
    while todo:
        if time.monotonic() >= end:
            for name, _, _ in todo:
                tap.result(False, f"{name}: not run, VM_LIMIT={args.limit:.0f} s are over")
            break
        todo = todo[boot(args, todo, tap, controls, end):]
    sys.exit(tap.end())


main()
