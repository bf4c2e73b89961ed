# Function `tykky` for fish: `tykky activate NAME|DIR` and `tykky deactivate`.
function __tykky_is_installation
    test -e $argv[1]/common.sh -a -d $argv[1]/bin
end

function __tykky_roots
    if set -q TYKKY_PATH; and test -n "$TYKKY_PATH"
        string split --no-empty : -- "$TYKKY_PATH"
    else
        echo $HOME/.tykky
    end
end

function __tykky_names
    for root in (__tykky_roots)
        for dir in $root/*/
            set dir (string trim --right --chars=/ -- $dir)
            __tykky_is_installation $dir; and basename $dir
        end
    end
end

function tykky
    if test (count $argv) -eq 2 -a "$argv[1]" = activate
        set -l dir $argv[2]
        if not string match -q -r '/|^\.\.?$' -- $dir
            for root in (__tykky_roots)
                if __tykky_is_installation $root/$argv[2]
                    set dir $root/$argv[2]
                    break
                end
            end
        end
        if not __tykky_is_installation $dir
            echo "tykky: `$dir` is not an installation: it has no common.sh and bin; `condense list` shows what there is" >&2
            return 1
        end
        # The path is made absolute without `cd`: fish runs command substitutions in its own
        # process, so `cd` in a substitution would change the directory of the shell.
        string match -q '/*' -- $dir; or set dir $PWD/$dir
        set dir (builtin realpath -s -- $dir)
        if set -q TYKKY_PREFIX
            tykky deactivate
        end
        set -gx TYKKY_PREFIX $dir
        set -gx PATH $dir/bin $PATH
    else if test (count $argv) -eq 1 -a "$argv[1]" = deactivate
        if not set -q TYKKY_PREFIX
            echo 'tykky: nothing is active' >&2
            return 1
        end
        if set -l at (contains -i -- $TYKKY_PREFIX/bin $PATH)
            set -e PATH[$at]
        end
        set -e TYKKY_PREFIX
    else
        printf '%s\n' 'usage: tykky activate NAME|DIR' '       tykky deactivate' \
            'A NAME is looked for in the directories of TYKKY_PATH (else ~/.tykky), then here. `condense list` shows them.'
        contains -- "$argv[1]" -h --help; or return 2
    end
end

complete -c tykky -n __fish_use_subcommand -f -a 'activate deactivate'
complete -c tykky -n '__fish_seen_subcommand_from activate' -a '(__tykky_names)'
