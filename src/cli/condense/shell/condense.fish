# Completes the words of condense under each of its names. `condense complete` knows the line.
function __condense_complete
    set -l program condense
    set -l before (commandline --current-process --tokenize --cut-at-cursor)
    string match -q '*/condense' -- $before[1]; and set program $before[1]
    command -q $program; or return
    command $program complete token $before (commandline --current-token --cut-at-cursor) 2>/dev/null
end
