# SPDX-License-Identifier: GPL-2.0-or-later
# What zsh makes of a command line when Tab is pressed: zsh -f complete.zsh DIRECTORY LINE...
# DIRECTORY holds _droverctl. For each LINE: "line" and what it became, "hits" and what was offered.
zmodload zsh/zpty || exit 1
dir=$1
shift
cat > $dir/setup <<'END'
PS1= PROMPT_EOL_MARK= LISTMAX=10000
fpath=(${0:h} $fpath)
autoload -Uz compinit
compinit -u -D
compadd() {
	local -a hits
	builtin compadd -A hits "$@"
	hit+=($hits)
	builtin compadd "$@"
}
typeset -a hit
press() { hit=(); zle complete-word; print -r -- $'\n'"line $BUFFER"$'\n'"hits $hit"$'\n'DONE; BUFFER= }
zle -N press
bindkey '^I' press
print SET''UP
END
zpty z zsh -f -i || exit 1
zpty -w z "source $dir/setup"
zpty -r z out '*SETUP*' || exit 1
for line; do
	zpty -w -n z "$line"$'\t'
	zpty -r z out '*DONE*' || exit 1
	print -r -- $out | tr -d '\r' | grep -a -E '^(line|hits) '
done
zpty -d z
