# SPDX-License-Identifier: GPL-2.0-or-later
# bash completion for droverctl: verbs and options come from the program itself
_droverctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb="" before="" w words
	for w in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $before:$w in -s:* | --socket:* | *:-*) ;; *) verb=$w; break ;; esac
		before=$w
	done
	case $verb:$prev in
	*:--goal) words=$(droverctl migrate --goal help --explain 2>&1 |
		sed -n 's/.*one of //; s/[A-Z,]//gp') ;;
	:*) words=$(droverctl --help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\).*/\1/p') ;;
	set:* | get:* | options:* | *:--set) words=$(droverctl options --json 2>/dev/null |
		sed -n 's/.*"name": *"\([^"]*\)".*/\1/p') ;;
	*) words=$(droverctl --help 2>/dev/null | sed -n 's/^  \(--[a-z-]*\).*/\1/p') ;;
	esac
	COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _droverctl droverctl
