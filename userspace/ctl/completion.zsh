#compdef droverctl
# SPDX-License-Identifier: GPL-2.0-or-later
# zsh completion for droverctl: verbs and options come from the program itself
local -a verbs flags goals
verbs=(${(f)"$(droverctl --help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\).*/\1/p')"})
flags=(${(f)"$(droverctl --help 2>/dev/null | sed -n 's/^  \(--[a-z-]*\).*/\1/p')"})
goals=(${=$(droverctl migrate --goal help --explain 2>&1 | sed -n 's/.*one of //; s/[A-Z,]//gp')})
if [[ $words[CURRENT-1] == --goal ]]; then
	compadd -- $goals
elif [[ $PREFIX == -* ]]; then
	compadd -- $flags
elif (( CURRENT == 2 )); then
	compadd -- $verbs
else
	_files
fi
