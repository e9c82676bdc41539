
# How many words stand before the one under the cursor, options and their values left aside.
function __fish_COMMAND_place
    set -l place 0
    set -l is_value 0
    set -l words (commandline -opc)
    for word in $words[2..-1]
        if test $is_value = 1
            set is_value 0
            continue
        end
        switch $word
            case VALUED
                set is_value 1
            case '-*'
            case '*'
                set place (math $place + 1)
        end
    end
    echo $place
end

