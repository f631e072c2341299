#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the documentation shows of droverctl: screens.py watch|report DIRECTORY

watch writes DIRECTORY/watch.txt: the screen of `droverctl watch` as tmux has it, of a
migration that cannot converge. report writes report.png and report-dark.png: the page of
`droverctl report` as headless Chromium draws it. Tests use the same functions.
"""
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import DEADLINE, DROVERCTL, SLOW, World, finish, listen, start  # noqa: E402

COLUMNS, ROWS = 100, 8
WIDTH, HEIGHT = 1040, 1130      # of the page's picture
ADVICE = "will not converge because dirty rate"


class Screen:
    """A tmux server of its own with one command in it."""

    def __init__(self, world, *argv):
        self.socket = world.file("tmux")
        env = {k: v for k, v in os.environ.items() if not k.startswith("TMUX")}
        env.update(LC_ALL="C.UTF-8", TERM="xterm-256color")
        # The shell keeps the screen when the command has ended.
        subprocess.run(["tmux", "-u", "-f", "/dev/null", "-S", self.socket, "new-session", "-d",
                        "-x", str(COLUMNS), "-y", str(ROWS), "--", "sh", "-c",
                        '"$@"; echo "status $?"; exec sleep 1000', "sh", *argv],
                       env=env, check=True, timeout=DEADLINE)

    def tmux(self, *args):
        return subprocess.run(["tmux", "-u", "-S", self.socket, *args], capture_output=True,
                              text=True, encoding="utf-8", timeout=DEADLINE)

    def text(self):
        """What a person would see now, without the empty end."""
        out = self.tmux("capture-pane", "-p").stdout
        return "\n".join(line.rstrip() for line in out.rstrip().split("\n"))

    def until(self, pattern, within=DEADLINE):
        """The screen once it looks like this; what it looks like at last otherwise."""
        end = time.monotonic() + within
        while True:
            text = self.text()
            if re.search(pattern, text) or time.monotonic() > end:
                return text
            time.sleep(0.05)

    def close(self):
        self.tmux("kill-server")


def watch(world):
    """Screens of a guest that writes more than may be sent: early, stuck, and at its end."""
    src = world.daemon("a", "sim:size=96M,dirty=40M,hot=64M")
    dst = world.daemon("b", "sim:size=96M")
    start(src, listen(dst), {"multifd": True, "multifd-channels": 2, "max-bandwidth": 24 << 20,
                             "downtime-limit": 100})
    screen = Screen(world, DROVERCTL, "-s", src.path, "watch")
    try:
        early = screen.until(r"\[#{8,}\.+\]")
        screen.until(ADVICE, 60 * SLOW)
        # Some more samples make a better picture.
        time.sleep(3)
        stuck = screen.until(ADVICE)
        src.call("migrate-set-parameters", **{"max-bandwidth": 0, "downtime-limit": 100000})
        finish(src, dst)
        last = screen.until(r"status \d")
    finally:
        screen.close()
    return early, stuck, last


def report(world, path):
    """The page of a migration of some seconds, written to this path."""
    src = world.daemon("c", "sim:size=384M,dirty=60M,hot=192M,zero=20,prefault=on")
    dst = world.daemon("d", "sim:size=384M,prefault=on")
    start(src, listen(dst), {"multifd": True, "multifd-channels": 2, "max-bandwidth": 150 << 20,
                             "downtime-limit": 50, "avail-switchover-bandwidth": 1 << 30,
                             "max-rounds": 12, "on-no-converge": "switchover"})
    ends = finish(src, dst)
    subprocess.run([DROVERCTL, "-s", src.path, "report", path], check=True, timeout=DEADLINE)
    return ends


def shot(world, page, picture, dark=False):
    """The page as Chromium draws it in a namespace without a network."""
    # As root it has no sandbox of its own; the page is ours.
    subprocess.run(["unshare", "-rn", "chromium", "--headless", "--no-sandbox", "--disable-gpu",
                    "--hide-scrollbars", "--no-first-run", "--disable-dev-shm-usage",
                    f"--user-data-dir={world.file('chromium')}",
                    f"--blink-settings=preferredColorScheme={0 if dark else 1}",
                    f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={picture}",
                    "file://" + page], check=True, timeout=2 * DEADLINE,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def write(directory, name, text):
    path = os.path.join(directory, name)
    with open(path + ".new", "w", encoding="utf-8") as f:
        f.write(text)
    os.replace(path + ".new", path)


def main():
    what, directory = sys.argv[1:]
    with World() as world:
        if what == "watch":
            early, stuck, last = watch(world)
            write(directory, "watch.txt", "\n\n".join((early, stuck, last)) + "\n")
        elif what == "report":
            page = world.file("report.html")
            report(world, page)
            for name, dark in (("report.png", False), ("report-dark.png", True)):
                shot(world, page, os.path.join(os.path.abspath(directory), name), dark)
        else:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
