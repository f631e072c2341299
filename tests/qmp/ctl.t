#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""droverctl: every verb, exit statuses, --json, and what a terminal sees."""
import fcntl
import html.parser
import json
import os
import pty
import re
import select
import socket
import struct
import subprocess
import sys
import termios
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from droverqmp import DROVERCTL, ROOT, Tap, World, match  # noqa: E402

tap = Tap()
HERE = os.path.dirname(os.path.abspath(__file__))
COMPLETION = os.path.join(ROOT, "userspace/ctl/completion.bash")


def ctl(*args, socket=None, env_socket=None, **kw):
    env = {k: v for k, v in os.environ.items() if k != "DROVER_SOCKET"}
    if env_socket:
        env["DROVER_SOCKET"] = env_socket
    argv = [DROVERCTL, *(["-s", socket] if socket else []), *args]
    p = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                       timeout=30, env=env, **kw)
    return p.returncode, p.stdout, p.stderr


def check(name, result, status, out=None, err=None):
    good = result[0] == status and (out is None or re.search(out, result[1], re.M)) and \
        (err is None or re.search(err, result[2], re.M))
    return tap.ok(good, name, result)


def eventually(socket, pattern):
    """Does `status` come to look like this?"""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if re.search(pattern, ctl("status", socket=socket)[1]):
            return True
        time.sleep(0.05)
    return False


def usage():
    check("no verb", ctl(), 2, err="usage:")
    check("--help", ctl("--help"), 0, out="migrate URI")
    check("--version", ctl("--version"), 0, out="^droverctl ")
    check("unknown verb", ctl("fly"), 2, err="fly: no such verb")
    check("recover: where?", ctl("recover"), 2, err="where")
    check("postcopy-after of incoming", ctl("incoming", "tcp::1", "--postcopy-after", "1"), 2,
          err="another verb")
    for bad in ("", "soon", "-1", "1.5", "604801"):
        check(f"--postcopy-after '{bad}'", ctl("migrate", "--postcopy-after", bad, "--explain"), 2,
              err="--postcopy-after .*: must be a number of seconds")
    check("unknown option", ctl("status", "--nope"), 2)
    check("another verb's option", ctl("status", "--wait"), 2, err="another verb")
    check("too many arguments", ctl("status", "x"), 2, err="arguments")
    check("too few", ctl("set"), 2, err="NAME=VALUE")
    check("no socket", ctl("status"), 2, err="DROVER_SOCKET")
    check("nobody there", ctl("status", socket="/nonexistent/s"), 1, err="connect")
    r = ctl("status", "--json", socket="/nonexistent/s")
    tap.ok(r[0] == 1 and "connect" in json.loads(r[1])["error"]["desc"], "--json failure", r)
    check("settle --force nonsense", ctl("settle", "--force", "x", socket="/nonexistent"), 2)


def options():
    check("options", ctl("options"), 0, out=r"^multifd-channels \(uint8, 1\.\.255; default 2\)")
    check("options NAME", ctl("options", "verify"), 0, out="none, digest, audit, full")
    check("options: unknown", ctl("options", "nope"), 2, err="nope")
    r = ctl("options", "--json")
    names = [o["name"] for o in json.loads(r[1])]
    tap.ok(len(names) == len(set(names)) == 65, f"options --json: {len(names)} options")
    top = [o for o in json.loads(r[1]) if o["name"] == "max-bandwidth"][0]
    tap.ok(match({"max": 18446744073709551615, "default": 134217728, "unit": "bytes/s"}, top),
           "exact integers", top)


def expanded(*args):
    """The config that --goal makes, and what --explain says of it."""
    r = ctl("migrate", *args, "--explain", "--json")
    return json.loads(r[1]) if r[0] == 0 else r, ctl("migrate", *args, "--explain")[1]


def goals():
    config, why = expanded("--goal", "fast")
    tap.ok(match({"multifd": True, "max-bandwidth": 0}, config) and
           re.search("(?m)^fast: ", why) and
           all(re.search(f"(?m)^{name}=\\S+ +\\w.+", why) for name in config) and
           len(why.splitlines()) == len(config) + 1,
           "--goal fast --explain: a line and a reason an option", f"{config} {why}")
    config, why = expanded("--goal", "bounded-downtime=75")
    tap.ok(match({"downtime-limit": 75, "on-no-converge": "wait"}, config), "bounded-downtime",
           config)
    config, why = expanded("--goal", "finish-by=100", "exec:cat")
    tap.ok(match({"total-timeout": 90, "on-no-converge": "switchover"}, config) and
           "multifd" not in config and re.search("multifd=default +.*one channel only", why),
           "finish-by, over one channel", f"{config} {why}")
    config, why = expanded("--goal", "gentle", "--set", "max-bandwidth=2M", "--set",
                           "auto-converge=default", "--set", "verify=full")
    tap.ok(config.get("max-bandwidth") == 2 << 20 and "auto-converge" not in config and
           re.search("max-bandwidth=2097152 +you said so; the goal would be 33554432", why) and
           re.search("auto-converge=default +you said so", why) and
           re.search("verify=full +you said so", why), "--set wins over the goal", why)
    for bad in ("quick", "fast=1", "finish-by", "finish-by=", "finish-by=0", "finish-by=1s",
                "finish-by=-1", "bounded-downtime=9999999999"):
        check(f"--goal {bad}", ctl("migrate", "--goal", bad, "--explain"), 2, err=f"--goal {bad}: ")
    check("--goal of incoming", ctl("incoming", "--goal", "fast", "tcp::1"), 2, err="another verb")
    check("--explain without a goal", ctl("migrate", "--set", "multifd=on", "--explain"), 0,
          out="^multifd=on +you said so$")


class Recorder(threading.Thread):
    """A QMP server that answers anything, and keeps what it was told to do."""

    def __init__(self, path, info):
        super().__init__(daemon=True)
        self.path, self.info, self.seen = path, info, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()

    def run(self):
        while True:
            try:
                peer = self.listener.accept()[0]
            except OSError:
                return
            with peer:
                peer.sendall(b'{"QMP": {"version": {}, "capabilities": ["oob"]}}\n')
                for c in self.commands(peer):
                    name = c.get("execute", c.get("exec-oob"))
                    if name not in ("qmp_capabilities", "query-migrate", "query-migrate-config"):
                        self.seen.append((name, c.get("arguments", {})))
                    answer = self.info if name == "query-migrate" else {}
                    said = {"return": answer, "id": c.get("id")}
                    peer.sendall(json.dumps(said).encode() + b"\n")

    @staticmethod
    def commands(peer):
        """No newline need be between two of them."""
        text = ""
        while True:
            data = peer.recv(65536)
            if not data:
                return
            text += data.decode()
            while text.strip():
                try:
                    c, end = json.JSONDecoder().raw_decode(text.lstrip())
                except ValueError:
                    break
                text = text.lstrip()[end:]
                yield c


def mapped(world):
    """Verbs of postcopy: the commands and arguments that they become."""
    tcp = {"transport": "socket", "type": "inet", "host": "h", "port": "5"}
    source = {"status": "postcopy-paused", "drover": {"side": "source"}}
    dest = {"status": "postcopy-paused", "drover": {"side": "destination"}}
    rows = (
        (source, ("postcopy",), ("migrate-start-postcopy", {})),
        (source, ("pause",), ("migrate-pause", {})),
        (source, ("recover", "h:5"), ("migrate", {"uri": "tcp:h:5", "resume": True})),
        (source, ("recover", "--channel", "main=h:5"),
         ("migrate", {"channels": [{"channel-type": "main", "addr": tcp}], "resume": True})),
        (dest, ("recover", "unix:/r"), ("migrate-recover", {"uri": "unix:/r"})),
        (dest, ("recover", "--channel", "main=h:5"),
         ("migrate-recover", {"channels": [{"channel-type": "main", "addr": tcp}]})),
        ({}, ("migrate", "h:5", "--postcopy-after", "7"),
         ("migrate", {"uri": "tcp:h:5", "config": {"postcopy-ram": True, "total-timeout": 7,
                                                   "on-no-converge": "postcopy"}})),
        ({}, ("migrate", "h:5", "--postcopy-after", "0", "--set", "multifd=on"),
         ("migrate", {"uri": "tcp:h:5", "config": {"postcopy-ram": True, "multifd": True,
                                                   "postcopy-from-start": True}})),
        ({}, ("migrate", "h:5", "--goal", "finish-by=100", "--postcopy-after", "7", "--set",
              "multifd=off", "--set", "auto-converge=off"),
         ("migrate", {"uri": "tcp:h:5", "config": {"postcopy-ram": True, "total-timeout": 7,
                                                   "on-no-converge": "postcopy", "max-bandwidth": 0,
                                                   "multifd": False, "auto-converge": False}})),
    )
    for i, (info, words, wanted) in enumerate(rows):
        server = Recorder(f"{world.dir}/rec{i}", info)
        server.start()
        r = ctl(*words, socket=server.path)
        tap.ok(r[0] == 0 and server.seen == [wanted], " ".join(words), f"{r} {server.seen}")
        server.listener.close()
    server = Recorder(f"{world.dir}/rec", {})
    server.start()
    r = ctl("recover", "h:5", socket=server.path)
    tap.ok(r[0] == 0 and server.seen == [("migrate", {"uri": "tcp:h:5", "resume": True})],
           "recover at a new daemon, which knows of no migration", f"{r} {server.seen}")
    server.info = source
    check("status of a paused one", ctl("status", socket=server.path), 0,
          out="recover URI' at the destination, then here")
    server.listener.close()
    r = ctl("migrate", "--postcopy-after", "9", "--explain")
    tap.ok(re.search("^on-no-converge=postcopy +you said so$", r[1], re.M), "--explain", r)


def goal_migrations(world, a, b):
    """What each goal expands to is taken by a daemon, there and back."""
    for i, goal in enumerate(("fast", "gentle", "bounded-downtime=200", "finish-by=20")):
        uri = f"unix:{world.dir}/g{i}"
        check("incoming", ctl("incoming", uri, socket=b), 0)
        check(f"migrate --goal {goal}", ctl("migrate", uri, "--goal", goal, "--wait", socket=a), 0,
              out="^completed")
        a, b = b, a


def completion():
    """bash offers what the program itself names."""
    def offers(*words):
        script = (f"PATH={os.path.dirname(DROVERCTL)}:$PATH; . {COMPLETION}; "
                  f"COMP_WORDS=({' '.join(words)} ''); COMP_CWORD={len(words)}; _droverctl; "
                  'echo "${COMPREPLY[@]}"')
        return subprocess.run(["bash", "-c", script], capture_output=True, text=True,
                              timeout=30).stdout.split()
    tap.ok({"migrate", "watch", "quit"} <= set(offers("droverctl")), "verbs")
    tap.ok({"--goal", "--explain", "--wait"} <= set(offers("droverctl", "migrate")), "options")
    got = offers("droverctl", "migrate", "--goal")
    tap.ok(got == ["fast", "gentle", "bounded-downtime=", "finish-by="], "goals", got)
    tap.ok(len(offers("droverctl", "set")) == 65, "names of settings")
    tap.ok("migrate" in offers("droverctl", "-s", "/run/x"), "a verb behind -s PATH")


def zsh_completion(world):
    """What zsh makes of a line at Tab: (typed, what it becomes, some of what is offered)."""
    rows = (("wat", "watch ", ["watch"]), ("m", "m", ["migrate", "monitor"]),
            ("", "", ["migrate", "watch", "quit"]), ("-s /run/x qu", "-s /run/x quit ", ["quit"]),
            ("migrate --exp", "migrate --explain ", ["--explain"]),
            ("migrate --wa", "migrate --wait ", ["--wait"]),
            ("migrate --goal ", "migrate --goal ", ["fast", "gentle", "finish-by="]),
            ("migrate --goal fi", "migrate --goal finish-by=", ["finish-by="]),
            ("migrate --set multifd-ch", "migrate --set multifd-channels=", ["multifd-channels"]),
            ("set max-ba", "set max-bandwidth=", ["max-bandwidth"]),
            ("get ver", "get verify ", ["verify"]), ("set qqq", "set qqq", []))
    where = os.path.join(world.dir, "zsh")
    os.mkdir(where)
    os.symlink(os.path.join(ROOT, "userspace/ctl/completion.zsh"), where + "/_droverctl")
    env = {**os.environ, "PATH": os.path.dirname(DROVERCTL) + ":" + os.environ["PATH"]}
    p = subprocess.run(["zsh", "-f", os.path.join(HERE, "complete.zsh"), where,
                        *("droverctl " + typed for typed, _, _ in rows)],
                       capture_output=True, text=True, timeout=60, env=env)
    out = p.stdout.splitlines()
    tap.ok(p.returncode == 0 and len(out) == 2 * len(rows), "zsh: an answer a line",
           f"{p.stdout} {p.stderr}")
    for (typed, becomes, offered), line, hits in zip(rows, out[::2], out[1::2]):
        hits = hits.split()[1:]
        tap.ok(line == "line droverctl " + becomes and set(offered) <= set(hits) and
               bool(offered) == bool(hits), f"zsh: '{typed}'", f"{line} {hits}")


def settings(s):
    check("set", ctl("set", "downtime-limit=42", "multifd=on", "max-bandwidth=2G", socket=s), 0)
    r = ctl("get", "--json", socket=s)
    tap.ok(match({"downtime-limit": 42, "multifd": True, "max-bandwidth": 2 << 30},
                 json.loads(r[1])), "get --json", r)
    check("get NAME", ctl("get", "multifd", socket=s), 0, out="^multifd=on$")
    check("all or none", ctl("set", "downtime-limit=1", "multifd-channels=0", socket=s), 1,
          err="multifd-channels")
    check("none was set", ctl("get", "downtime-limit", socket=s), 0, out="^downtime-limit=42$")
    check("NAME=default", ctl("set", "downtime-limit=default", "multifd=default",
                              "max-bandwidth=default", env_socket=s), 0)
    check("is reset", ctl("get", socket=s), 0, out="^downtime-limit=300$")
    check("set: unknown name", ctl("set", "nope=1", socket=s), 2, err="nope")
    check("set: no value", ctl("set", "multifd", socket=s), 2, err="NAME=VALUE")
    check("set: not a boolean", ctl("set", "multifd=perhaps", socket=s), 2, err="perhaps")
    check("get: unknown name", ctl("get", "nope", socket=s), 2, err="nope")


def watch_on_terminal(argv, columns, seconds=20, locale="C"):
    """Run argv on a pseudo terminal, not longer than this; (exit status, all it wrote)."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    p = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave,
                         env={**os.environ, "LC_ALL": locale})
    os.close(slave)
    data, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([master], [], [], 0.1)[0]:
            try:
                part = os.read(master, 65536)
            except OSError:
                break
            if not part:
                break
            data += part
        elif p.poll() is not None:
            break
    os.close(master)
    try:
        return p.wait(5), data.decode()
    except subprocess.TimeoutExpired:
        p.kill()
        return None, data.decode()


def migration(world, a, b):
    check("status before", ctl("status", socket=a), 0, out="(?s)guest +running.*migration +none")
    check("watch before", ctl("watch", socket=a), 1, err="no migration")
    check("settle", ctl("settle", socket=a), 0, out="nothing is in doubt")
    check("settle by force", ctl("settle", "--force", "own", socket=a), 1, err="in doubt")
    check("where to?", ctl("migrate", socket=a), 2)
    check("bad --channel", ctl("migrate", "--channel", "main", socket=a), 2, err="TYPE=URI")
    if not os.path.exists("/dev/drover"):
        check("monitor without the module", ctl("monitor"), 1, err="modprobe drover")
    check("bad --set", ctl("migrate", "tcp:127.0.0.1:1", "--set", "nope=1", socket=a), 2)
    check("refused by the daemon", ctl("migrate", "tcp:127.0.0.1:1", "--set", "rdma-pin-all=on",
                                       socket=a), 1, err="rdma-pin-all")
    uri = "unix:" + world.dir + "/w"
    check("incoming", ctl("incoming", uri, socket=b), 0)
    tap.ok(eventually(b, "(?s)inmigrate.*listening"), "status of a destination")
    events = subprocess.Popen([DROVERCTL, "-s", a, "events"], stdout=subprocess.PIPE, text=True)
    r = ctl("migrate", "--channel", "main=" + uri, "--channel", "data=" + uri, "--set",
            "multifd=on", "--set", "max-bandwidth=4M", "--set", "events=on", socket=a)
    check("migrate, two kinds of channels", r, 0)
    r = ctl("status", "--json", socket=a)
    tap.ok(match({"guest": {"running": True}, "migration": {"drover": {"side": "source"}}},
                 json.loads(r[1])), "status --json", r)
    with subprocess.Popen([DROVERCTL, "-s", a, "watch"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as plain:
        time.sleep(0.5)
        check("cancel", ctl("cancel", socket=a), 0)
        out, err = plain.communicate(timeout=20)
    tap.ok(plain.returncode == 1 and "active" in out and "cancelled" in err and
           "\033" not in out, "watch of a cancelled migration: plain lines, status 1", out + err)
    line = events.stdout.readline()
    tap.ok("MIGRATION" in line, "events", line)
    events.terminate()
    events.communicate(timeout=10)


def completed(world, a, b):
    uri = "unix:" + world.dir + "/x"
    check("watch of the destination, which has failed", ctl("watch", socket=b), 1, err="^failed")
    check("incoming again", ctl("incoming", uri, socket=b), 0)
    config = world.dir + "/config.json"
    with open(config, "w") as f:
        json.dump({"max-bandwidth": 64 << 20, "multifd": True}, f)
    check("migrate --config", ctl("migrate", uri, "--config", config, "--set",
                                  "multifd-channels=2", socket=a), 0)
    status, text = watch_on_terminal([DROVERCTL, "-s", a, "watch"], 90,
                                     locale="C.UTF-8")
    tap.ok(status == 0 and "completed in" in text, "watch on a terminal, to the end",
           f"{status} {text}")
    frames = re.split(r"\r|\n", re.sub(r"\033\[[0-9]*[A-Z]", "", text))
    tap.ok(any("#" in f and "%" in f and "ETA" in f for f in frames), "with a bar", frames)
    tap.ok(any(re.search("^sent .*[\u2581-\u2588] [0-9.]+ .?i?B/s, scale ", f) for f in frames),
           "a sparkline of what is sent", frames)
    tap.ok(any(re.search("^channel main .*/s, data/0 .*/s, data/1 .*/s", f) for f in frames),
           "a rate a channel", frames)
    tap.ok(all(len(f) <= 90 for f in frames), "no line is wider than the terminal",
           max(frames, key=len))
    check("the downtime's parts", ctl("status", socket=a), 0,
          out=r"^downtime +[0-9.]+ ms, pause [0-9.]+, harvest .*, commit [0-9.]+; expected [0-9.]+$")
    check("status after", ctl("status", socket=a), 0, out="(?s)postmigrate.*completed in.*digest")
    r = ctl("watch", "--json", socket=a)
    tap.ok(r[0] == 0 and json.loads(r[1].splitlines()[0])["status"] == "completed",
           "watch --json", r)


def waiting(world, a, b):
    uri = "unix:" + world.dir + "/y"
    dest = subprocess.Popen([DROVERCTL, "-s", a, "incoming", "--wait", uri],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    eventually(a, "listening")
    check("migrate --wait back", ctl("migrate", uri, "--wait", "--set", "max-bandwidth=0",
                                     socket=b), 0, out="^completed in")
    out, err = dest.communicate(timeout=20)
    tap.ok(dest.returncode == 0 and "completed" in out, "incoming --wait", out + err)
    check("migrate --wait to nobody", ctl("migrate", "unix:" + world.dir + "/nobody", "--wait",
                                          socket=a), 1, err="^failed: .*nobody")
    r = ctl("migrate", "unix:" + world.dir + "/nobody", "--wait", "--json", socket=a)
    tap.ok(r[0] == 1 and json.loads(r[1])["status"] == "failed", "... --json", r)
    check("the guest runs on", ctl("status", socket=a), 0, out="guest +running")
    check("continue, out of place", ctl("continue", socket=a), 1, err="expected state")


VOID = {"meta", "br", "hr"}


class Page(html.parser.HTMLParser):
    """Tags closed in order, attributes given once; the text of each cell."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.wrong, self.words, self.tags = [], [], [], []
        self.feed(text)
        self.close()
        self.wrong += [f"{tag} is left open" for tag in self.stack]

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            self.wrong.append(f"{tag}: {names}")
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.stack or self.stack.pop() != tag:
            self.wrong.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data):
        self.words.append(data.strip())


def report(world):
    a = world.start("told", "sim:size=16M,dirty=8M").path
    b = world.start("silent", "sim:size=16M").path
    uri = "unix:" + world.dir + "/<r>&'x"
    check("report before", ctl("report", socket=a), 1, err="no migration")
    check("incoming", ctl("incoming", uri, socket=b), 0)
    check("migrate", ctl("migrate", uri, "--wait", "--set", "multifd=on", socket=a), 0)
    info = json.loads(ctl("status", "--json", socket=a)[1])["migration"]
    r = ctl("report", socket=a)
    page = Page(r[1])
    tap.ok(r[0] == 0 and not page.wrong and page.tags[0][0] == "html", "report: well-formed HTML",
           page.wrong)
    outside = re.findall(r"(?i)https?:|//|src=|href|url\(|@import|<script|<link|<img|<object|"
                         r"<iframe|javascript:", r[1])
    tap.ok(not outside, "nothing in it comes from outside", outside)
    ours = info["drover"]
    figures = [v for o in (info["ram"], ours) for v in o.values() if type(v) is int] + \
        [v for o in ours["rounds"] for v in o.values()] + \
        [n for c in ours["channels"] for n in (c["tx-bytes"], c["rx-bytes"])] + \
        [info["total-time"], info["downtime"]]
    missing = [v for v in figures if str(v) not in page.words]
    tap.ok(len(figures) > 40 and not missing, f"all {len(figures)} figures are in it", missing)
    bars = [t for t, at in page.tags if t == "rect" and at["class"] in ("sent", "stopped") and
            "x" in at]
    tap.ok(len(bars) == len(ours["rounds"]) >= 2, "a bar a round", bars)
    width = sum(float(at["width"]) for t, at in page.tags
                if t == "rect" and re.match("p[0-6]$", at["class"]) and "x" in at)
    most = max(ours["downtime-us"], ours["expected-downtime-us"])
    tap.ok(abs(width - 820 * ours["downtime-us"] / most) < 5,
           f"the parts fill the downtime's bar: {width:.1f}")
    tap.ok(any("/<r>&'x" in w for w in page.words) and "<r>" not in r[1],
           "what others named is text, not markup", [w for w in page.words if "&" in w])
    path = world.dir + "/report.html"
    check("report FILE", ctl("report", path, socket=a), 0, out="^$")
    with open(path) as f:
        tap.ok(Page(f.read()).words == page.words, "is the same page")
    check("report to nowhere", ctl("report", world.dir + "/no/such", socket=a), 1, err="No such file")
    if os.path.exists("/dev/full"):
        check("report on a full disk", ctl("report", "/dev/full", socket=a), 1, err="write error")
    r = ctl("report", socket=b)
    tap.ok(r[0] == 0 and not Page(r[1]).wrong and "told by the source" in r[1],
           "the destination's report", r)


def no_end(world):
    """A guest that writes faster than is sent."""
    a = world.start("busy", "sim:size=16M,dirty=64M").path
    b = world.start("calm", "sim:size=16M").path
    uri = "unix:" + world.dir + "/z"
    check("incoming", ctl("incoming", uri, socket=b), 0)
    # On a busy machine the guest writes less, and what is left fits into little time.
    check("migrate", ctl("migrate", uri, "--set", "max-bandwidth=4M", "--set",
                         "downtime-limit=1", socket=a), 0)
    tap.ok(eventually(a, "will not converge because dirty rate .*/s [>~] bandwidth .*/s; try "
                             "'droverctl set max-bandwidth=0'"),
           "a migration without end is told so", ctl("status", socket=a))
    status, text = watch_on_terminal([DROVERCTL, "-s", a, "watch"], 120, 2)
    tap.ok("will not converge because dirty rate" in text, "watch says so, too", text)
    tap.ok(re.search(r"dirty +[_.:=+*#-]+ [0-9.]+ .?i?B/s, scale ", text),
           "with a sparkline of what is written", text)
    check("a line that is no limit any more", ctl("set", "max-bandwidth=1T", socket=a), 0)
    check("set while it runs", ctl("set", "downtime-limit=100000", "max-bandwidth=0", socket=a), 0)
    check("lets it end", ctl("watch", socket=a), 0, out="^completed")


def ending(a, b):
    r = ctl("quit", "--json", socket=a)
    tap.ok(r[0] == 0 and json.loads(r[1]) == {}, "quit", r)


with World() as w:
    usage()
    options()
    goals()
    completion()
    zsh_completion(w)
    mapped(w)
    sa = w.start("a", "sim:size=64M,seed=3").path
    sb = w.start("b", "sim:size=64M").path
    for part, args in ((settings, (sa,)), (migration, (w, sa, sb)), (completed, (w, sa, sb)),
                       (waiting, (w, sa, sb)), (goal_migrations, (w, sa, sb)), (no_end, (w,)), (report, (w,)), (ending, (sa, sb))):
        try:
            part(*args)
        except (OSError, ValueError, KeyError, IndexError, subprocess.TimeoutExpired) as e:
            tap.ok(False, part.__name__, repr(e))
tap.ok(not any(w.statuses.values()), "both daemons end with status 0", w.statuses)
sys.exit(tap.done())
