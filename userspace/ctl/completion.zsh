#compdef droverctl
# SPDX-License-Identifier: GPL-2.0-or-later
# zsh completion for droverctl: verbs and options come from the program itself
local -a all
local verb word before
for word in ${words[2,CURRENT-1]}; do
	[[ $word == -* || $before == (-s|--socket) ]] || { verb=$word; break }
	before=$word
done
if [[ $words[CURRENT-1] == --goal ]]; then
	all=(${=$(droverctl migrate --goal help --explain 2>&1 | sed -n 's/.*one of //; s/[A-Z,]//gp')})
	compadd -S '' -- ${(M)all:#*=}
	compadd -- ${all:#*=}
elif [[ $words[CURRENT-1] == --set || ($verb == (set|get|options) && $PREFIX != -*) ]]; then
	all=(${(f)"$(droverctl options --json 2>/dev/null |
		sed -n 's/.*"name": *"\([^"]*\)".*/\1/p')"})
	if [[ $verb == (get|options) ]]; then
		compadd -- $all
	else
		compadd -S = -- $all
	fi
elif [[ $PREFIX == -* ]]; then
	compadd -- ${(f)"$(droverctl --help 2>/dev/null | sed -n 's/^  \(--[a-z-]*\).*/\1/p')"}
elif [[ -z $verb ]]; then
	compadd -- ${(f)"$(droverctl --help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\).*/\1/p')"}
else
	_files
fi
