# What zsh offers for a line: asked.zsh DIRECTORY LINE. Each word is printed behind "offered: ".
zmodload zsh/zpty
zpty inner zsh -f -i
zpty -w inner "
PS1= PS2=
fpath=($1 \$fpath)
autoload -Uz compinit
compinit -u
zstyle ':completion:*' list-max 1000
LISTMAX=10000
setopt no_beep
# Everything that is offered goes through it.
compadd() {
    local -a found
    if [[ \${@[1,(i)(-|--)]} == *-(O|A|D)\\ * ]]; then
        builtin compadd \"\$@\"
        return
    fi
    builtin compadd -A found \"\$@\"
    print -rl -- 'offered: '\$^found
    builtin compadd \"\$@\"
}
ended() { print 'that is all'; }
begun() { print 'it begins'; comppostfuncs=(ended); }
bindkey '^I' complete-word
compprefuncs=(begun)
print ready
"
zpty -r inner text '*ready*ready*'
zpty -w -n inner "$2"$'\t'
zpty -r inner text '*that is all*'
print -r -- "${text//$'\r'/}"
zpty -d inner
