# `conda` and `mamba` as shell functions, for changes to the calling shell that a child process
# cannot make; written by condense (crates/prefix/src/conda.rs). Sourced by scripts and by
# bin/activate, and printed by `conda shell.bash hook`.
# shellcheck shell=sh disable=SC2016
export CONDA_EXE=@ROOT@/bin/conda CONDA_SHLVL="${CONDA_SHLVL:-0}"
_condense_root=@ROOT@ _condense_name=@NAME@ _condense_environment=@ROOT@/envs/@NAME@

# `|| return` passes a failure on to the caller, also to one with `set -e` and its own trap.
conda() {
  case ${1-} in
    activate | deactivate | reactivate) _condense_switch conda "$@" || return ;;
    *) "$_condense_root/bin/conda" "$@" || return ;;
  esac
}
mamba() {
  case ${1-} in
    activate | deactivate | reactivate) _condense_switch mamba "$@" || return ;;
    *) "$_condense_root/bin/mamba" "$@" || return ;;
  esac
}

_condense_switch() { # conda|mamba activate|deactivate|reactivate [OPTION] [NAME|PATH]
  [ -z "${ZSH_VERSION-}" ] || setopt local_options null_glob sh_word_split
  case $2 in
    deactivate)
      # shellcheck disable=SC2119
      _condense_leave
      return
      ;;
    reactivate) return 0 ;;
  esac
  while :; do
    case ${3-} in --stack | --no-stack) set -- "$1" "$2" "${4-base}" ;; *) break ;; esac
  done
  case ${3:-base} in
    base | "$_condense_root" | "$_condense_root/") set -- "$_condense_root" base ;;
    "$_condense_name" | "$_condense_environment" | "$_condense_environment/")
      set -- "$_condense_environment" "$_condense_name"
      ;;
    *)
      printf '%s: EnvironmentNameNotFound: there is one environment, %s at %s, and no `%s`\n' \
        "$1" "$_condense_name" "$_condense_environment" "$3" >&2
      return 1
      ;;
  esac
  [ "${CONDA_PREFIX-}" != "$1" ] || return 0
  if [ "${CONDA_PREFIX-}" ]; then
    _condense_scripts deactivate
    eval "export CONDA_PREFIX_$CONDA_SHLVL=\$CONDA_PREFIX"
  fi
  CONDA_SHLVL=$((CONDA_SHLVL + 1))
  _condense_enter "$1" "$2"
}

_condense_enter() { # PREFIX NAME
  _condense_path "$1/bin"
  export CONDA_PREFIX="$1" CONDA_DEFAULT_ENV="$2" CONDA_PROMPT_MODIFIER="($2) " CONDA_SHLVL
  _condense_scripts activate
}

# shellcheck disable=SC2120
_condense_leave() { # without arguments; it sets its own with `set --`
  [ "${CONDA_PREFIX-}" ] || return 0
  _condense_scripts deactivate
  CONDA_SHLVL=$((CONDA_SHLVL - 1))
  if [ "$CONDA_SHLVL" -le 0 ]; then
    _condense_path ''
    unset CONDA_PREFIX CONDA_DEFAULT_ENV CONDA_PROMPT_MODIFIER
    export CONDA_SHLVL=0
    return
  fi
  eval "set -- \"\${CONDA_PREFIX_$CONDA_SHLVL-}\""
  unset "CONDA_PREFIX_$CONDA_SHLVL"
  case $1 in "$_condense_root") _condense_enter "$1" base ;; *) _condense_enter "$1" "$_condense_name" ;; esac
}

_condense_path() { # NEW: replaces the active environment's directory in PATH
  case :$PATH: in
    *":${CONDA_PREFIX:-/nowhere}/bin:"*)
      set -- "$1" ":$PATH:"
      set -- "${2%%":$CONDA_PREFIX/bin:"*}${1:+:$1}:${2#*":$CONDA_PREFIX/bin:"}"
      set -- "${1#:}"
      PATH=${1%:}
      ;;
    *) PATH=${1:+$1:}$PATH ;;
  esac
}

_condense_scripts() { # activate|deactivate
  if [ "$CONDA_PREFIX" = "$_condense_environment" ] && [ -r "$_condense_root/.condense/$1-variables" ]; then
    # shellcheck source=/dev/null
    . "$_condense_root/.condense/$1-variables"
  fi
  [ -d "$CONDA_PREFIX/etc/conda/$1.d" ] || return 0
  if [ "$1" = deactivate ]; then
    set --
    for _condense_script in "$CONDA_PREFIX/etc/conda/deactivate.d"/*.sh; do set -- "$_condense_script" "$@"; done
  else
    set -- "$CONDA_PREFIX/etc/conda/activate.d"/*.sh
  fi
  for _condense_script; do
    # shellcheck source=/dev/null
    [ ! -r "$_condense_script" ] || . "$_condense_script"
  done
  unset _condense_script
}
