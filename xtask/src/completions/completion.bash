# bash completion for COMMAND

# Prints the values of a kind, one a line.
_COMMAND_list() {
    LISTS
}

# Prints what may stand behind an option or at a place of a command: words, or = and a kind of values.
_COMMAND_table() {
    TABLE
}

_COMMAND() {
    local IFS=$' \t\n' cur= opt= sub= place=0 word found
    local -a words
    # Readline parts words at colons and equals signs too, which addresses and options have in them.
    read -ra words <<<"${COMP_LINE:0:COMP_POINT}"
    [[ ${COMP_LINE:0:COMP_POINT} == *[[:space:]] ]] && words+=("")
    cur=${words[${#words[@]}-1]}
    for word in "${words[@]:1:${#words[@]}-2}"; do
        if [[ $opt ]]; then
            opt=
        elif [[ $word == -* ]]; then
            [[ $(_COMMAND_table "$sub,$word") ]] && opt=$word
        elif [[ ! $sub && $(_COMMAND_table "$word,-") ]]; then
            sub=$word place=0
        else
            ((place++))
        fi
    done
    if [[ ! $opt && $cur == --*=* ]]; then
        opt=${cur%%=*} cur=${cur#*=}
    fi
    if [[ $opt ]]; then
        found=$(_COMMAND_table "$sub,$opt")
    elif [[ $cur == -* ]]; then
        found=$(_COMMAND_table "$sub,-")
    else
        found=$(_COMMAND_table "$sub,$place")
    fi
    IFS=$'\n'
    if [[ $found == =?* ]]; then
        [[ $found == =files ]] && compopt -o filenames 2>/dev/null
        found=$(_COMMAND_list "${found#=}")
    else
        found=${found#=} found=${found// /$'\n'}
    fi
    COMPREPLY=()
    for word in $found; do
        [[ $word == "$cur"* ]] || continue
        # What stands before the last colon is a word of its own to readline.
        [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]] && word=${word#"${cur%:*}:"}
        COMPREPLY+=("$word")
    done
}

complete -F _COMMAND COMMAND
