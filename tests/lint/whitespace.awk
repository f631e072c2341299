# SPDX-License-Identifier: GPL-2.0-or-later
# What .editorconfig says of indentation and of blanks at the end of a line, for the files given.
function say(what) { print FILENAME ":" FNR ": " what }

FNR == 1 {
	python = FILENAME ~ /\.py$/ || /python3/
	code = FILENAME ~ /\.(c|h|def|sh|t|py|S|mk|awk)$/ || /^#!/
	tabs = code && !python
}
code && /[ \t]$/ { say("blanks at the end") }
code && /\r/ { say("a carriage return") }
tabs && /^ {4}/ { say("indented by spaces") }
tabs && /^\t* +\t/ { say("a tab behind spaces") }
python && /^ *\t/ { say("indented by a tab") }
