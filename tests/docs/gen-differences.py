#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes Documentation/generated/qmp-differences.rst from the table that corpus.t checks.
A row without a reason belongs to the one above."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "qmp"))
import corpus  # noqa: E402

print(""".. SPDX-License-Identifier: GPL-2.0-or-later
.. Written by tests/docs/gen-differences.py; edit tests/qmp/corpus/differences.jsonl.

.. list-table::
   :header-rows: 1
   :widths: 60 40

   * - Here
     - Why""")
entries = []
for row in corpus.Table().rows:
    if row["why"] or not entries:
        entries.append([row["what"], row["why"]])
    else:
        entries[-1][0] += " " + row["what"]
for what, why in entries:
    print(f"   * - {what}\n     - {why}")
