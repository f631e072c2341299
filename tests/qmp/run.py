#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs files of QMP cases: run.py SOCKET-COMMAND CASES.jsonl...

SOCKET-COMMAND starts a server of QMP on the UNIX socket $SOCKET, for the guest $GUEST:
'build/droverd --qmp unix:$SOCKET --guest $GUEST'. The format of the cases is in
Documentation/testing.rst. TAP goes to stdout."""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from droverqmp import Tap, World, match  # noqa: E402


def judge(step, client):
    """None when all is as expected, else what was not."""
    if "send" in step or "raw" in step:
        if "raw" in step:
            client.raw(step["raw"])
            answer = client.answer()
        else:
            answer = client.ask(step["send"])
        want = step.get("expect")
        if "error" in step:
            want = {"error": {"class": step.get("class", "GenericError"),
                              "desc": "~" + step["error"]}}
        elif "return" in step:
            want = {"return": step["return"]}
        if want is not None and not match(want, answer):
            return f"wanted {json.dumps(want)}\ngot    {json.dumps(answer)}"
    if "until" in step or "info" in step:
        info = client.info(step.get("until"), step.get("info", {}), within=10)
        if info is not None:
            return f"query-migrate: {json.dumps(info)}"
    if "event" in step and not client.event(step["event"], 10, **step.get("data", {})):
        return f"no such event; kept: {json.dumps(client.events)}"
    if "then" in step:
        answer = client.call(step["then"]).get("return")
        if not match(step["gives"], answer):
            return f"{step['then']} gives {json.dumps(answer)}"
    return None


def walk(path, tap, command=None):
    base = os.path.basename(path).split(".")[0]
    with World(command) as world, open(path, encoding="utf-8") as f:
        clients, default = {}, None
        for number, line in enumerate(f, 1):
            if not line.strip():
                continue
            step = json.loads(line.replace("$DIR", world.dir))
            for name, guest in step.get("start", {}).items():
                clients[name] = world.start(name, guest).client(enable=step.get("enable"))
                default = default or name
            if "name" not in step:
                continue
            try:
                why = judge(step, clients[step.get("on", default)])
            except (OSError, AttributeError, KeyError) as e:
                why = f"{type(e).__name__}: {e}"
            tap.ok(why is None, f"{base}: {step['name']}", f"line {number}: {why}")
    tap.ok(not any(world.statuses.values()), f"{base}: every server ended with status 0",
           world.statuses)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    tap = Tap()
    for path in sys.argv[2:]:
        walk(path, tap, sys.argv[1])
    sys.exit(tap.done())


if __name__ == "__main__":
    main()
