#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every file of cases/ by run.py, or the files that are given."""
import glob
import os
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)
from droverqmp import Tap  # noqa: E402
from run import walk  # noqa: E402

tap = Tap()
for case in sorted(sys.argv[1:] or glob.glob(os.path.join(here, "cases", "*.jsonl"))):
    walk(case, tap)
sys.exit(tap.done())
