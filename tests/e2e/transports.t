#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A dirtying guest over each transport; to a file and from it; the ways each can fail."""
import os
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import Tap, brief, finish, good, listen, migrate, port_of, start  # noqa: E402

tap = Tap()
ONE_WAY = {"one-way": True}
MULTIFD = {"multifd": True, "multifd-channels": 2}


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        return True
    except OSError:
        return False


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def sockets(world):
    a, b = world.sims()
    uris = ["tcp:127.0.0.1:0", "tcp:[::1]:0", "unix:" + world.file("stream0"),
            "vsock:1:%d0" % (free_port() // 10)]
    for uri in uris:
        name = uri.split(":")[0] + (" IPv6" if "[" in uri else "")
        if "[" in uri and not has_ipv6():
            tap.skip(name, "this kernel has no IPv6 loopback", 2)
            continue
        if name == "vsock" and not has_vsock():
            tap.skip(name, "this kernel has no vsock loopback (CONFIG_VSOCKETS_LOOPBACK)", 2)
            continue
        # Who has arrived goes on answering on its address, so the way back has another.
        for way, config in enumerate(({}, MULTIFD)):
            to = uri if uri.endswith(":0") else uri[:-1] + str(way)
            good(tap, f"{name} {config or ''}", a, b, migrate(a, b, to, config))
            a, b = b, a


def has_vsock():
    try:
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as s:
            s.bind((1, 0xffffffff))
            s.listen(1)
            with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as c:
                c.settimeout(1)
                c.connect((1, s.getsockname()[1]))
        return True
    except OSError:
        return False


def addresses(world):
    """What an address can say beyond host and port."""
    a, b = world.sims()
    name = "drover-e2e-%d" % os.getpid()
    addr = {"transport": "socket", "type": "unix", "path": name, "abstract": True}
    channels = [{"channel-type": "main", "addr": addr}]
    b.call("migrate-incoming", channels=channels)
    a.call("migrate", channels=channels, config={"max-bandwidth": 0})
    good(tap, "abstract UNIX name", a, b, finish(a, b))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first = taken.getsockname()[1]
        uri = listen(a, f"tcp:127.0.0.1:{first},to={min(first + 50, 65535)}")
        tap.ok(port_of(uri) != first, f"to=: port {port_of(uri)}, since {first} is taken")
        start(b, uri)
        good(tap, "a port of a range", b, a, finish(b, a))
    # Data channels that have an address of their own.
    ports = [free_port(), free_port()]
    addr = [{"transport": "socket", "type": "inet", "host": "127.0.0.1", "port": str(p)}
            for p in ports]
    channels = [{"channel-type": t, "addr": where} for t, where in zip(("main", "data"), addr)]
    b.call("migrate-incoming", channels=channels)
    a.call("migrate", channels=channels, config={"max-bandwidth": 0, **MULTIFD})
    good(tap, "data channels on an address of their own", a, b, finish(a, b))
    names = [c["name"] for c in a.info()["drover"]["channels"]]
    tap.ok(names == ["main", "data/0", "data/1"], "and each channel is told", names)


def exec_socat(world):
    a, b = world.sims()
    path = world.file("exec")
    b.call("migrate-incoming", uri=f"exec:socat UNIX-LISTEN:{path} -")
    while not os.path.exists(path):
        b.info()
    a.call("migrate", uri=f"exec:socat - UNIX-CONNECT:{path}", config={"max-bandwidth": 0})
    good(tap, "exec through socat at both ends", a, b, finish(a, b))
    channels = [{"channel-type": "main", "addr": {
        "transport": "exec", "args": ["socat", "-", "TCP:127.0.0.1:%d" % port_of(listen(a))]}}]
    b.call("migrate", channels=channels, config={"max-bandwidth": 0})
    good(tap, "exec with an argument list, to a listening socket", b, a, finish(b, a))
    start(a, "exec:exit 3")
    info = a.until("failed")
    tap.ok("status 3" in info.get("error-desc", "") and a.running(),
           "a command that fails: its status is told, the guest runs on", brief(info))


def exec_one_way(world):
    a, b = world.sims()
    path = world.file("stream")
    start(a, f"exec:cat > {path}", ONE_WAY)
    info = a.until("completed", "failed")
    tap.ok(info["status"] == "completed" and not a.running(), "one-way into cat", brief(info))
    b.call("migrate-incoming", uri=f"exec:cat {path}", config=ONE_WAY)
    good(tap, "and from cat", a, b, finish(a, b))
    # A reader that says nothing is found out, by the option's name.
    c = world.daemon("c", "sim:size=16M")
    start(c, "exec:cat > /dev/null", {"handshake-timeout": 500})
    info = c.until("failed")
    tap.ok("one-way" in info.get("error-desc", "") and c.running(),
           "a silent reader without one-way", brief(info))


def descriptors(world):
    left, right = socket.socketpair()
    a = world.daemon("a", "sim:size=64M,dirty=20M", pass_fds=[left.fileno()])
    b = world.daemon("b", "sim:size=64M", pass_fds=[right.fileno()])
    fds = left.fileno(), right.fileno()
    left.close()
    right.close()
    b.call("migrate-incoming", uri=f"fd:{fds[1]}")
    start(a, f"fd:{fds[0]}")
    good(tap, "an inherited socket pair", a, b, finish(a, b))


def pipe(world):
    r, w = os.pipe()
    a = world.daemon("a", "sim:size=64M,dirty=20M", pass_fds=[w])
    b = world.daemon("b", "sim:size=64M", pass_fds=[r])
    os.close(r)
    os.close(w)
    b.call("migrate-incoming", uri=f"fd:{r}", config=ONE_WAY)
    start(a, f"fd:{w}")
    good(tap, "an inherited pipe is one-way by itself", a, b, finish(a, b))


def files(world):
    a, b = world.sims()
    path = world.file("guest")
    start(a, "file:" + path)
    info = a.until("completed", "failed")
    tap.ok(info["status"] == "completed" and a.call("query-status")["status"] == "postmigrate",
           "to a file: completed, the guest stays stopped", brief(info))
    size = os.stat(path).st_size
    b.call("migrate-incoming", uri="file:" + path)
    good(tap, "from a file", a, b, finish(a, b))
    # An offset leaves what is before it alone; what was behind does not survive.
    with open(path, "r+b") as f:
        f.write(b"header")
        f.truncate(size + (8 << 20))
    start(b, f"file:{path},offset=4096")
    info = b.until("completed", "failed")
    with open(path, "rb") as f:
        head = f.read(6)
    tap.ok(info["status"] == "completed" and head == b"header", "to a file behind a header",
           brief(info))
    a.call("migrate-incoming", uri=f"file:{path},offset=4096", discard=True)
    good(tap, "and from behind it", b, a, finish(b, a))


def broken_files(world):
    a, b = world.sims()
    path = world.file("guest")
    start(a, "file:" + path)
    a.until("completed")
    with open(path, "r+b") as f:
        f.seek(20 << 20)
        f.write(bytes([f.read(1)[0] ^ 1]))
    b.call("migrate-incoming", uri="file:" + path)
    info = b.until("completed", "failed")
    tap.ok(info["status"] == "failed" and not b.running(),
           "a byte of the file was changed: refused, nothing runs", brief(info))
    os.truncate(path, 10 << 20)
    b.call("migrate-incoming", uri="file:" + path)
    info = b.until("completed", "failed")
    tap.ok(info["status"] == "failed" and info.get("error-desc"), "a truncated file", brief(info))
    start_error = b.error("migrate-incoming", uri="file:" + world.file("none"))
    info = b.until("failed") if start_error is None else {"error-desc": start_error}
    tap.ok("none" in info.get("error-desc", ""), "a file that is not there", info)


def unreachable(world):
    a, _ = world.sims()
    for uri in ("tcp:127.0.0.1:%d" % free_port(), "unix:" + world.file("nobody"),
                "file:" + world.file("no/such/dir"), "tcp:host.invalid:1"):
        begin = a.call("query-status")["running"]
        start(a, uri)
        info = a.until("failed")
        tap.ok(begin and info.get("status") == "failed" and info.get("error-desc") and a.running(),
               f"{uri.split(':')[0]}: nobody there: failed, the guest runs on", brief(info))
    good(tap, "and a good one afterwards", a, world.started[1], migrate(a, world.started[1]))


if __name__ == "__main__":
    for tool in ("socat", "cat"):
        subprocess.run(["sh", "-c", f"command -v {tool}"], check=True, stdout=subprocess.DEVNULL)
    tap.run(sockets, addresses, exec_socat, exec_one_way, descriptors, pipe, files, broken_files,
            unreachable)
