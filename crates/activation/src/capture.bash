# Sources the activation scripts of an environment the way conda does, in one trial after another,
# and records the effects. condense writes this file (activation/capture.bash) into the build
# container and runs it there:
#   bash capture.bash DIR                every trial of DIR/trials, each by the line below in an
#                                        environment of its own
#   bash capture.bash DIR TRIAL COUNT    the first COUNT scripts of DIR/scripts in one trial
# DIR holds: scripts, trials/NNN (a working directory, then NAME=VALUE), every entry ended by NUL.
# Results per trial:
#   NNN.states       exported variables and shell settings before the first script and after each:
#                    seven texts ended by NUL
#   NNN.output       output of the scripts
#   NNN.SCRIPT.log   the commands that ran: \003 text \004 as written, \001 depth and
#                    function \002 text as executed, \005 text \004 the word of a `case`
#   NNN.stopped      number of the script and its command that may run only at a real start
#   NNN.at           number of the script that was started last
#   NNN.whole        exists if all scripts were finished
#   NNN.status       exit status of the shell
# The trial 000 is the real activation: nothing is recorded or held back, and the files that it
# writes stay in the environment. In all later trials a command that is not known to be free of side
# effects ends the trial before the command runs.

# Texts of commands are compared with other texts, so single quotes are intended; scripts are found
# by name.
# shellcheck disable=SC2016,SC1090
dir=$1

if [ $# -eq 1 ]; then
  for needed in env timeout; do
    type -P "$needed" >/dev/null || { printf '%s' "$needed" >"$dir/missing"; exit 0; }
  done
  read -r seconds <"$dir/limit"
  count=0 jobs=0
  while IFS= read -r -d '' _; do count=$((count + 1)); done <"$dir/scripts"
  while read -r line; do case $line in processor*) jobs=$((jobs + 1)) ;; esac; done </proc/cpuinfo
  [ "$jobs" -gt 0 ] || jobs=1

  # Runs one trial.
  try() {
    local variables=() cwd='' line
    while IFS= read -r -d '' line; do
      if [ -z "$cwd" ]; then cwd=$line; else variables+=("$line"); fi
    done <"$dir/trials/$1"
    (
      cd "$cwd" || exit
      ulimit -f 262144 # a script that prints for ever must not fill the disk: 256 MiB per file
      exec timeout -k 5 "$seconds" env -i "${variables[@]}" "$BASH" --norc --noprofile "$dir/capture.bash" "$dir" "$1" "$count"
    ) </dev/null >"$dir/$1.output" 2>&1
    printf '%s' $? >"$dir/$1.status"
  }

  tried=()
  for trial in "$dir"/trials/*; do
    name=${trial##*/}
    tried+=("$name")
    if [ "$name" = 000 ]; then try "$name"; else try "$name" & fi
    [ "$name" = 000 ] || [ "${#tried[@]}" -ge "$jobs" ] || continue
    wait
    for name in "${tried[@]}"; do
      [ -e "$dir/$name.whole" ] && continue
      # The script that ended this trial and all scripts after it are dynamic: the remaining trials
      # need not run them again.
      [ "$name" != 000 ] && [ -e "$dir/$name.at" ] || exit 0
      read -r at <"$dir/$name.at"
      [ "$at" -ge "$count" ] || count=$at
    done
    tried=()
    [ "$count" -gt 0 ] || break
  done
  wait
  exit 0
fi

__condense_trial=$1/$2 __condense_count=$3 __condense_scripts=()
while IFS= read -r -d '' __condense_script; do
  [ -r "$__condense_script" ] || { printf 'cannot read %s\n' "$__condense_script" && exit 1; }
  __condense_scripts+=("$__condense_script")
done <"$dir/scripts"
unset dir
set --
exec 57>"$__condense_trial.states"

# Prints exported variables and functions, then everything else that a program inherits or a later
# script would notice. Uses only builtins and no command substitution: one process for each of some
# hundred dumps would take longer than the scripts.
__condense_dump() {
  declare -xp
  printf '\0'
  export -fp
  printf '\0'
  umask
  printf '\0'
  ulimit -a
  printf '\0%s\0%s\0%s\0' "$PWD" "$SHELLOPTS:$BASHOPTS" "${IFS-unset}"
} >&57

# Switches tracing off; a function, so that the log can leave out the commands of the guard.
__condense_quiet() { set +x; }

# Runs before each command, with the arguments of the function that holds the command. Returning 1
# skips the command.
__condense_guard() {
  if [ "${#FUNCNAME[@]}" -le 2 ]; then # not a command of a script, but of the loop below
    set -x
    return 0
  fi
  local __condense_text=$BASH_COMMAND __condense_word=
  __condense_look "$@"
  __condense_word=$?
  set -x
  return "$__condense_word"
}

__condense_look() {
  case $__condense_text in
    'R CMD javareconf'*) return 1 ;; # writes into the environment only: trial 000 has done it
    'case '*)
      printf '\003%s\004' "$__condense_text" >&58
      __condense_word=${__condense_text#case }
      __condense_word=${__condense_word% in }
      case $__condense_word in
        *'`'* | *'$('* | *'='* | *'?'*) ;; # the expansion could have side effects
        *) eval "__condense_word=$__condense_word" && printf '\005%s\004' "$__condense_word" >&58 ;;
      esac
      return 0
      ;;
    'for '* | 'select '* | '(('* | '[['*)
      printf '\003%s\004' "$__condense_text" >&58
      return 0
      ;;
  esac

  # Name of the command, found behind assignments, `command` and `builtin`.
  local __condense_rest=$__condense_text
  while :; do
    __condense_rest=${__condense_rest#"${__condense_rest%%[![:blank:]]*}"}
    __condense_word=${__condense_rest%%[[:blank:]]*}
    case $__condense_word in
      [A-Za-z_]*=*)
        # A quoted or substituted value may hold blanks, so its end is not known at this point. The
        # guard is called separately for the commands of a substitution.
        case $__condense_word in *[\"\'\`\(]*) __condense_word=: && break ;; esac
        [ "$__condense_rest" != "$__condense_word" ] || { __condense_word=: && break; }
        ;;
      command | builtin) case $__condense_rest in 'command -'*) break ;; esac ;;
      *) break ;;
    esac
    __condense_rest=${__condense_rest#"$__condense_word"}
  done

  case ${__condense_word#\\} in
    mkdir | touch | chmod | rm | rmdir)
      # Accepts writes into the environment only: trial 000 has done them, and they are impossible
      # in the read-only image.
      local __condense_argument __condense_inside=1 IFS=$' \t\n'
      for __condense_argument in ${__condense_rest#"$__condense_word"}; do
        case $__condense_argument in
          -* | '2>' | '>' | /dev/null | '2>&1') ;;
          '"$CONDA_PREFIX/'* | '$CONDA_PREFIX/'* | '"${CONDA_PREFIX}/'* | '${CONDA_PREFIX}/'*) ;;
          *) __condense_inside= ;;
        esac
      done
      [ -z "$__condense_inside" ] || return 1
      __condense_stop "runs \`$__condense_word\`"
      ;;
    : | '[' | alias | arch | basename | bind | break | builtin | cat | cd | command | complete | compopt | continue | cut | \
      declare | dirname | dirs | echo | enable | eval | exit | export | expr | false | getopts | hash | head | let | local | mapfile | \
      popd | printf | pushd | pwd | read | readarray | readlink | readonly | realpath | return | sed | seq | set | shift | shopt | sort | \
      tail | test | tr | true | type | typeset | ulimit | umask | unalias | uname | uniq | unset | wait | wc | which) ;;
    '') ;;
    *) declare -F -- "$__condense_word" >/dev/null || __condense_stop "runs \`$__condense_word\`" ;;
  esac

  case $__condense_text in
    *'>'*)
      case $__condense_text in
        *'> "$CONDA_PREFIX/'* | *'> $CONDA_PREFIX/'* | *'> "${CONDA_PREFIX}/'* | *'> ${CONDA_PREFIX}/'*) return 1 ;; # into the environment, as above
      esac
      __condense_rest=$__condense_text
      __condense_rest=${__condense_rest//\\>/}
      __condense_rest=${__condense_rest//'> /dev/null'/}
      __condense_rest=${__condense_rest//'> /dev/stderr'/}
      __condense_rest=${__condense_rest//'> /dev/stdout'/}
      __condense_rest=${__condense_rest//'>&'[0-9-]/}
      __condense_unquote
      case $__condense_rest in *'>'*) __condense_stop 'writes a file' ;; esac
      ;;
  esac
  printf '\003%s\004' "$__condense_text" >&58
  return 0
}

# Removes quoted parts from the text of the caller.
__condense_unquote() {
  local __condense_quote __condense_head __condense_tail
  for __condense_quote in "'" '"'; do
    while :; do
      case $__condense_rest in *"$__condense_quote"*"$__condense_quote"*) ;; *) break ;; esac
      __condense_head=${__condense_rest%%"$__condense_quote"*}
      __condense_tail=${__condense_rest#*"$__condense_quote"}
      __condense_rest=$__condense_head${__condense_tail#*"$__condense_quote"}
    done
  done
}

# Ends the trial before the command that the guard is examining. In a subshell, only the subshell
# ends; the loop below sees the file.
__condense_stop() {
  [ -e "$__condense_trial.stopped" ] || printf '%s %s\n' "$__condense_i" "$1" >"$__condense_trial.stopped"
  exit 0
}

PS4=$'\001${#BASH_SOURCE[@]} ${FUNCNAME[0]-}\002'
[ "${__condense_trial##*/}" = 000 ] || { set -T && shopt -s extdebug; }
__condense_dump
for ((__condense_i = 0; __condense_i < __condense_count; __condense_i++)); do
  printf '%s\n' "$__condense_i" >"$__condense_trial.at"
  if [ "${__condense_trial##*/}" = 000 ]; then
    . "${__condense_scripts[__condense_i]}"
  else
    BASH_XTRACEFD= # closes the former log
    exec 58>"$__condense_trial.$__condense_i.log"
    BASH_XTRACEFD=58
    trap '__condense_quiet; __condense_guard "$@"' DEBUG
    set -x
    . "${__condense_scripts[__condense_i]}"
    trap - DEBUG
    set +x
    [ ! -e "$__condense_trial.stopped" ] || exit 0
  fi
  __condense_dump
done
: >"$__condense_trial.whole"
