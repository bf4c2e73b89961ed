# Sources an environment's activation scripts the way conda does, in one world after another, and records what they do.
# Written by condense (crates/prefix/src/activation/capture.bash) and run by it in the build container:
#   bash capture.bash DIR                 every world of DIR/worlds, each by the line below in an environment of its own
#   bash capture.bash DIR WORLD COUNT     the first COUNT scripts of DIR/scripts in one world
# In DIR: scripts, worlds/NNN (a working directory, then NAME=VALUE), everything ended by NUL. Results per world:
#   NNN.states   the environment and the shell's settings before the first script and after each: seven texts ended by NUL
#   NNN.output   what the scripts print
#   NNN.SCRIPT.log   the commands that ran: \003 text \004 as written, \001 depth and
#                    function \002 text as executed, \005 text \004 the word of a `case`
#   NNN.stopped  the script and its command that only a real start may run
#   NNN.at       the script that was begun last; NNN.whole: the last one was left; NNN.status: how the shell ended
# The world 000 is the real activation: nothing is recorded or held back, and what it writes stays in the environment.
# In all later worlds a command that is not known to be pure ends the world before it runs.

# Texts of commands are compared with other texts, so single quotes are meant; scripts are found by name.
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

  # Tries one world.
  try() {
    local variables=() cwd='' line
    while IFS= read -r -d '' line; do
      if [ -z "$cwd" ]; then cwd=$line; else variables+=("$line"); fi
    done <"$dir/worlds/$1"
    (
      cd "$cwd" || exit
      ulimit -f 262144 # a script that prints for ever must not fill the disk: 256 MiB per file
      exec timeout -k 5 "$seconds" env -i "${variables[@]}" "$BASH" --norc --noprofile "$dir/capture.bash" "$dir" "$1" "$count"
    ) </dev/null >"$dir/$1.output" 2>&1
    printf '%s' $? >"$dir/$1.status"
  }

  tried=()
  for world in "$dir"/worlds/*; do
    name=${world##*/}
    tried+=("$name")
    if [ "$name" = 000 ]; then try "$name"; else try "$name" & fi
    [ "$name" = 000 ] || [ "${#tried[@]}" -ge "$jobs" ] || continue
    wait
    for name in "${tried[@]}"; do
      [ -e "$dir/$name.whole" ] && continue
      # The script that ended this world is settled, and all behind it: the rest need not run it again.
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

__condense_world=$1/$2 __condense_count=$3 __condense_scripts=()
while IFS= read -r -d '' __condense_script; do
  [ -r "$__condense_script" ] || { printf 'cannot read %s\n' "$__condense_script" && exit 1; }
  __condense_scripts+=("$__condense_script")
done <"$dir/scripts"
unset dir
set --
exec 57>"$__condense_world.states"

# Exported variables and functions, then what else a program inherits or a later script would notice. Builtins only, and no
# substitution: a process for each of some hundred dumps would take longer than the scripts.
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

# What the log would otherwise show of the guard.
__condense_quiet() { set +x; }

# Called before each command with the arguments of the function that it stands in. Returning 1 skips it.
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
    'R CMD javareconf'*) return 1 ;; # writes into the environment only: done in the world 000
    'case '*)
      printf '\003%s\004' "$__condense_text" >&58
      __condense_word=${__condense_text#case }
      __condense_word=${__condense_word% in }
      case $__condense_word in
        *'`'* | *'$('* | *'='* | *'?'*) ;; # could do something, not only say something
        *) eval "__condense_word=$__condense_word" && printf '\005%s\004' "$__condense_word" >&58 ;;
      esac
      return 0
      ;;
    'for '* | 'select '* | '(('* | '[['*)
      printf '\003%s\004' "$__condense_text" >&58
      return 0
      ;;
  esac

  # The command's name: behind assignments, `command` and `builtin`.
  local __condense_rest=$__condense_text
  while :; do
    __condense_rest=${__condense_rest#"${__condense_rest%%[![:blank:]]*}"}
    __condense_word=${__condense_rest%%[[:blank:]]*}
    case $__condense_word in
      [A-Za-z_]*=*)
        # A quoted or substituted value may hold blanks, so where it ends is not known here. What a substitution runs
        # comes by itself.
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
      # Into the environment only: done in the world 000, and impossible in the read-only image.
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
        *'> "$CONDA_PREFIX/'* | *'> $CONDA_PREFIX/'* | *'> "${CONDA_PREFIX}/'* | *'> ${CONDA_PREFIX}/'*) return 1 ;; # likewise
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

# Takes quoted parts out of the caller's text.
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

# Ends the world (or the subshell; the loop below sees the file) before the command that the guard looks at.
__condense_stop() {
  [ -e "$__condense_world.stopped" ] || printf '%s %s\n' "$__condense_i" "$1" >"$__condense_world.stopped"
  exit 0
}

PS4=$'\001${#BASH_SOURCE[@]} ${FUNCNAME[0]-}\002'
[ "${__condense_world##*/}" = 000 ] || { set -T && shopt -s extdebug; }
__condense_dump
for ((__condense_i = 0; __condense_i < __condense_count; __condense_i++)); do
  printf '%s\n' "$__condense_i" >"$__condense_world.at"
  if [ "${__condense_world##*/}" = 000 ]; then
    . "${__condense_scripts[__condense_i]}"
  else
    BASH_XTRACEFD= # closes the former log
    exec 58>"$__condense_world.$__condense_i.log"
    BASH_XTRACEFD=58
    trap '__condense_quiet; __condense_guard "$@"' DEBUG
    set -x
    . "${__condense_scripts[__condense_i]}"
    trap - DEBUG
    set +x
    [ ! -e "$__condense_world.stopped" ] || exit 0
  fi
  __condense_dump
done
: >"$__condense_world.whole"
