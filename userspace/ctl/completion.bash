# SPDX-License-Identifier: GPL-2.0-or-later
# bash completion for droverctl: verbs and options come from the program itself
_droverctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} verb="" w
	for w in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $w in -*) ;; *) verb=$w; break ;; esac
	done
	case $verb in
	"") COMPREPLY=($(compgen -W "migrate incoming status watch cancel continue settle set get \
		options events host-limit monitor quit" -- "$cur")) ;;
	set | get | options) COMPREPLY=($(compgen -W "$(droverctl options --json 2>/dev/null |
		sed -n 's/.*"name": *"\([^"]*\)".*/\1/p')" -- "$cur")) ;;
	*) COMPREPLY=($(compgen -W "--json --config --set --channel --wait --force --help" -- "$cur")) ;;
	esac
}
complete -F _droverctl droverctl
