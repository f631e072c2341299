#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Walks the files of cases/: one JSON object a line, in order.

  {"start": {NAME: GUEST}}             start daemons (the first is the default "on")
  {"name": TEXT, "on": NAME, ...}      one test, made of any of
      "send": REQUEST | "raw": TEXT      what is sent
      "return": PATTERN                  expected answer, or
      "error": REGEX [, "class": NAME]
      "expect": PATTERN                  the whole answer, id and all
      "until": [STATUS...]               polls query-migrate for one of these
      "info": PATTERN                    ... and for an answer like this
      "event": NAME [, "data": PATTERN]  waits for an event
      "then": COMMAND, "gives": PATTERN  a query that shows what has, or has not, changed
  {"#": ...}                           a comment

$DIR in a text is the test's directory. Patterns: see match().
"""
import glob
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


def walk(path, tap):
    base = os.path.basename(path).split(".")[0]
    with World() as world, open(path) as f:
        clients, default = {}, None
        for number, line in enumerate(f, 1):
            if not line.strip():
                continue
            step = json.loads(line.replace("$DIR", world.dir))
            for name, guest in step.get("start", {}).items():
                clients[name] = world.start(name, guest).client()
                default = default or name
            if "name" not in step:
                continue
            try:
                why = judge(step, clients[step.get("on", default)])
            except (OSError, AttributeError, KeyError) as e:
                why = f"{type(e).__name__}: {e}"
            tap.ok(why is None, f"{base}: {step['name']}", f"line {number}: {why}")
    tap.ok(not any(world.statuses.values()), f"{base}: every droverd ended with status 0",
           world.statuses)


tap = Tap()
here = os.path.dirname(os.path.abspath(__file__))
for case in sorted(sys.argv[1:] or glob.glob(os.path.join(here, "cases", "*.jsonl"))):
    walk(case, tap)
sys.exit(tap.done())
