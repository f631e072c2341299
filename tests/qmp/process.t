#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""droverd as a process: command line, exit status, signals, inherited descriptors."""
import os
import resource
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from droverqmp import DROVERD, Daemon, Tap, World, match  # noqa: E402

tap = Tap()


def run(*args):
    p = subprocess.run([DROVERD, *args], stdin=subprocess.DEVNULL, capture_output=True,
                       text=True, timeout=20)
    return p.returncode, p.stdout, p.stderr


def command_line(world):
    usage = [
        ([], "--qmp"),
        (["--qmp", "unix:" + world.dir + "/x"], "--guest"),
        (["--nonsense"], "nonsense"),
        (["--qmp"], "qmp"),
        (["--qmp", "unix:x", "--guest", "sim:size=16M", "more"], "argument"),
    ]
    for args, word in usage:
        status, _, err = run(*args)
        tap.ok(status == 2 and word in err, f"usage: {' '.join(args) or 'nothing'}", err)
    path = world.dir + "/x"
    with open(world.dir + "/bad.json", "w") as f:
        f.write('{"downtime-limit": 1, "downtime-limit": 2}')
    with open(world.dir + "/range.json", "w") as f:
        f.write('{"multifd-channels": 0}')
    with open(world.dir + "/list.json", "w") as f:
        f.write("[]")
    with open(world.dir + "/plain", "w") as f:
        f.write("mine")
    sim = ["--guest", "sim:size=16M"]
    failures = [
        (["--qmp", "tcp:1", *sim], "tcp:1"),
        (["--qmp", "unix:" + world.dir + "/none/x", *sim], "none/x"),
        (["--qmp", "unix:/" + "x" * 200, *sim], "longer"),
        (["--qmp", "unix:" + world.dir + "/plain", *sim], "not a socket"),
        (["--qmp", "unix:" + path, "--guest", "bogus:1"], "bogus"),
        (["--qmp", "unix:" + path, "--guest", "sim:size=x"], "size"),
        (["--qmp", "unix:" + path, *sim, "--config", world.dir + "/none"], "none"),
        (["--qmp", "unix:" + path, *sim, "--config", world.dir + "/bad.json"], "downtime-limit"),
        (["--qmp", "unix:" + path, *sim, "--config", world.dir + "/range.json"],
         "multifd-channels"),
        (["--qmp", "unix:" + path, *sim, "--config", world.dir + "/list.json"], "object"),
        (["--qmp", "unix:" + path, *sim, "--tls-creds-dir", world.dir], "TLS is not built in"),
    ]
    for args, word in failures:
        status, _, err = run(*args)
        tap.ok(status == 1 and word in err, "refused: " + word, f"{status} {err}")
    tap.ok(not os.path.exists(path), "a failed start leaves no socket")
    with open(world.dir + "/plain") as f:
        tap.ok(f.read() == "mine", "and touches nobody's file")
    status, out, _ = run("--version")
    tap.ok(status == 0 and out.startswith("droverd "), "--version")
    status, out, _ = run("--help")
    tap.ok(status == 0 and "--guest" in out, "--help")


def config_file(world):
    name = world.dir + "/good.json"
    with open(name, "w") as f:
        f.write('{"downtime-limit": 42, "multifd": true}\n')
    d = Daemon(world.dir, "cfg", "sim:size=16M", "--config", name)
    tap.ok(match({"return": {"downtime-limit": 42, "multifd": True}},
                 d.client().call("query-migrate-config")), "--config sets the stored settings")
    tap.ok(d.stop() == 0, "quit: status 0")
    tap.ok(not os.path.exists(d.path), "quit removes the socket")


def signals(world):
    for sig in (signal.SIGTERM, signal.SIGINT):
        d = Daemon(world.dir, "sig", "sim:size=16M")
        d.process.send_signal(sig)
        tap.ok(d.wait() == 0, f"{sig.name}: status 0")
        d.stop()
    d = Daemon(world.dir, "sig", "sim:size=16M")
    d.process.kill()
    d.wait()
    tap.ok(os.path.exists(d.path), "kill -9 leaves the socket")
    os.rename(d.path, d.path + ".old")
    os.rename(d.path + ".old", world.dir + "/stale.qmp")
    s = socket.socket(socket.AF_UNIX)
    try:
        s.connect(world.dir + "/stale.qmp")
        refused = False
    except ConnectionRefusedError:
        refused = True
    before = os.stat(world.dir + "/stale.qmp").st_ino
    p = subprocess.Popen([DROVERD, "--qmp", "unix:" + world.dir + "/stale.qmp", "--guest",
                          "sim:size=16M"], stdin=subprocess.DEVNULL)
    end = time.monotonic() + 10
    fresh = False
    while not fresh and time.monotonic() < end:
        try:
            socket.socket(socket.AF_UNIX).connect(world.dir + "/stale.qmp")
            fresh = True
        except OSError:
            time.sleep(0.01)
    tap.ok(refused and fresh, "a new daemon takes the stale socket's place", f"inode {before}")
    status, _, err = run("--qmp", "unix:" + world.dir + "/stale.qmp", "--guest", "sim:size=16M")
    tap.ok(status == 1 and "listens" in err, "a live one's it does not", err)
    p.terminate()
    tap.ok(p.wait(20) == 0, "and SIGTERM ends it")


def quit_while_running(world):
    a = Daemon(world.dir, "qa", "sim:size=64M")
    b = Daemon(world.dir, "qb", "sim:size=64M")
    uri = "unix:" + world.dir + "/quit"
    b.client().call("migrate-incoming", uri=uri)
    c = a.client()
    c.call("migrate", uri=uri, config={"max-bandwidth": 1 << 20})
    c.status("active")
    tap.ok(c.call("quit") == {"return": {}}, "quit answers while a migration runs")
    tap.ok(a.wait() == 0, "and ends")
    tap.ok(b.stop() == 0, "the incoming side ends, too")


def turned_away(path):
    """Connect; is the connection closed without a greeting?"""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    s.connect(path)
    try:
        return s, not s.recv(1)
    except ConnectionResetError:
        return s, True


def crowd(world):
    """More clients than sessions, and than descriptors."""
    d = Daemon(world.dir, "many", "sim:size=16M")
    first = d.client()
    socks = [turned_away(d.path) for _ in range(70)]
    refused = [away for _, away in socks]
    tap.ok(refused == [False] * 63 + [True] * 7, "64 clients at once, no more", refused)
    tap.ok("return" in first.call("query-status"), "the first one is served")
    for s, _ in socks:
        s.close()
    tap.ok("return" in d.client().call("query-status"), "room again once they have gone")
    tap.ok(d.stop() == 0, "status 0")
    d = Daemon(world.dir, "few", "sim:size=16M",
               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)))
    first = d.client()
    socks = [turned_away(d.path) for _ in range(45)]
    tap.ok(socks[-1][1], "out of descriptors: clients are turned away")

    def cpu():
        with open(f"/proc/{d.process.pid}/stat") as f:
            return sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))
    before = cpu()
    time.sleep(0.5)
    tap.ok(cpu() - before < 20 and "return" in first.call("query-status"),
           "and the daemon neither spins nor stops serving")
    for s, _ in socks:
        s.close()
    tap.ok(d.stop() == 0, "status 0")


STRANGER = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.settimeout(10)
sys.exit(0 if s.recv(1) == b"" else 1)
"""


def strangers(world):
    """Another user is refused also where the file's mode would let him in."""
    if os.geteuid() != 0:
        return
    d = Daemon(world.dir, "guarded", "sim:size=16M")
    os.chmod(world.dir, 0o755)
    os.chmod(d.path, 0o666)
    p = subprocess.run(["/usr/bin/python3", "-c", STRANGER, d.path], timeout=20)
    tap.ok(p.returncode == 0, "another user's connection is closed without a greeting")
    tap.ok("uid 65534: refused" in d.text(), "and logged", d.text())
    tap.ok(d.stop() == 0, "status 0")


def inherited(world):
    left, right = socket.socketpair()
    a = Daemon(world.dir, "fa", "sim:size=16M", pass_fds=[left.fileno()])
    b = Daemon(world.dir, "fb", "sim:size=16M", pass_fds=[right.fileno()])
    uris = ["fd:%d" % left.fileno(), "fd:%d" % right.fileno()]
    left.close()
    right.close()
    ca, cb = a.client(), b.client()
    r = cb.call("migrate-incoming", uri=uris[1])
    tap.ok(r == {"return": {}}, "migrate-incoming from an inherited socket", r)
    r = ca.call("migrate", uri=uris[0])
    tap.ok(r == {"return": {}}, "migrate to one", r)
    info = ca.status("completed", "failed")
    tap.ok(info["status"] == "completed", "completed", info)
    cb.status("completed", "failed")
    r = cb.call("migrate", uri=uris[1])
    tap.ok(match({"error": {"desc": "~was used"}}, r), "a descriptor serves once", r)
    tap.ok(a.stop() == 0 and b.stop() == 0, "both end with status 0")


with World() as w:
    for part in (command_line, config_file, signals, quit_while_running, crowd, strangers, inherited):
        try:
            part(w)
        except (OSError, RuntimeError, KeyError, TypeError, subprocess.TimeoutExpired) as e:
            tap.ok(False, part.__name__, repr(e))
sys.exit(tap.done())
