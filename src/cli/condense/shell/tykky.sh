# Function `tykky` for bash, zsh, ksh and other POSIX shells: `tykky activate NAME|DIR` and
# `tykky deactivate`. It starts no process except the subshell for `pwd`.
# Backticks in single quotes mark names in messages.
# shellcheck shell=sh disable=SC2016
tykky() {
  case ${1-}:$# in
    activate:2) __tykky_activate "$2" ;;
    deactivate:1) __tykky_deactivate ;;
    *)
      printf '%s\n' 'usage: tykky activate NAME|DIR' '       tykky deactivate' \
        'A NAME is looked for in the directories of TYKKY_PATH (else ~/.tykky), then here. `condense list` shows them.'
      case ${1-} in -h | --help) return 0 ;; *) return 2 ;; esac
      ;;
  esac
}

__tykky_is_installation() { [ -e "$1/common.sh" ] && [ -d "$1/bin" ]; }

# Sets __tykky_dir to the directory of the installation with the given name or path.
__tykky_find() {
  __tykky_dir=$1
  case $1 in */* | . | ..) return ;; esac
  __tykky_rest=${TYKKY_PATH:-$HOME/.tykky}:
  while [ -n "$__tykky_rest" ]; do
    __tykky_root=${__tykky_rest%%:*} __tykky_rest=${__tykky_rest#*:}
    if [ -n "$__tykky_root" ] && __tykky_is_installation "$__tykky_root/$1"; then
      __tykky_dir=$__tykky_root/$1
      break
    fi
  done
  unset __tykky_rest __tykky_root
}

__tykky_activate() {
  __tykky_find "$1"
  if ! __tykky_is_installation "$__tykky_dir"; then
    printf 'tykky: `%s` is not an installation: it has no common.sh and bin; `condense list` shows what there is\n' "$__tykky_dir" >&2
    unset __tykky_dir
    return 1
  fi
  __tykky_dir=$(CDPATH='' cd -- "$__tykky_dir" && pwd) || return 1
  [ -z "${TYKKY_PREFIX-}" ] || __tykky_deactivate || return 1
  TYKKY_PREFIX=$__tykky_dir PATH=$__tykky_dir/bin:$PATH
  export TYKKY_PREFIX PATH
  if [ -n "${PS1-}" ]; then
    __tykky_prompt=$PS1 PS1="(${__tykky_dir##*/}) $PS1"
  fi
  unset __tykky_dir
}

__tykky_deactivate() {
  if [ -z "${TYKKY_PREFIX-}" ]; then
    echo 'tykky: nothing is active' >&2
    return 1
  fi
  case :$PATH: in
    *":$TYKKY_PREFIX/bin:"*)
      PATH=:$PATH:
      PATH=${PATH%%":$TYKKY_PREFIX/bin:"*}:${PATH#*":$TYKKY_PREFIX/bin:"}
      PATH=${PATH#:} PATH=${PATH%:}
      ;;
  esac
  if [ -n "${__tykky_prompt+set}" ]; then
    PS1=$__tykky_prompt
    unset __tykky_prompt
  fi
  unset TYKKY_PREFIX
}
