#!/bin/sh
# `conda` and `mamba` of an environment that condense has built (crates/prefix/src/conda.rs). There
# is no real conda behind them. Queries about the environment are answered from files; while the
# environment is being built, condense itself installs the packages that scripts request.
#
# Backticks in single quotes mark commands in messages.
# shellcheck disable=SC2016
root=${0%/*}/..
root=$(CDPATH='' cd -P -- "$root" && pwd) || exit 1
name=@NAME@ queue=@QUEUE@
environment=$root/envs/$name facts=$root/.condense
me=${0##*/}

fail() { printf '%s: %s\n' "$me" "$1" >&2; exit "${2:-1}"; }
refuse() { # WORDS [WAY-OUT]
  fail "\`conda $1\` is not supported: ${2-"there is no conda here. Supported: $verbs"}"
}
verbs='install, remove, update, env update, config (while building), list, env export, env list, config --show, info, run, activate, deactivate, clean'
one_only="an installation has one environment, $name: add packages with \`conda install\`, or build another installation"
building() { [ -f "$queue/pid" ]; }
must_build() { # WAY-OUT
  building || fail "the image is read-only: $1"
}

ask() { # REQUEST [ARGUMENT...]: passes it to the condense process that builds
  request=$queue/$$
  { printf '%s\n' "$@" >"$request.new" && mv "$request.new" "$request.request"; } || fail 'cannot ask the build that this belongs to'
  read -r pid <"$queue/pid"
  until [ -e "$request.done" ]; do
    kill -0 "$pid" 2>/dev/null || fail 'the build that this belongs to has ended'
    sleep 0.05 2>/dev/null || sleep 1
  done
  [ ! -s "$request.stdout" ] || cat "$request.stdout"
  [ ! -s "$request.stderr" ] || cat "$request.stderr" >&2
  read -r status <"$request.status"
  if [ "$status" = 0 ] && [ -s "$request.post-link" ]; then
    while IFS='	' read -r script package version number; do
      "$(command -v bash || command -v sh)" "${queue%/*}/post-link.sh" "$environment" "$script" "$package" "$version" "$number" \
        </dev/null || fail "the post-link script of $package failed"
    done <"$request.post-link"
  fi
  requirements=$request-pip.txt
  [ ! -s "$request.pip" ] || mv "$request.pip" "$requirements"
  rm -f "$request".*
  [ "$status" = 0 ] || return "$status"
  [ -f "$requirements" ] || return 0
  "$environment/bin/python" -m pip install -r "$requirements" || return
  rm -f "$requirements"
}

of_base=''
[ "${CONDA_PREFIX-}" != "$root" ] || of_base=yes
this_environment() { # NAME or PATH
  of_base=''
  case $1 in
    "$name" | "$environment" | "$environment/") ;;
    base | "$root" | "$root/") of_base=yes ;;
    *) fail "EnvironmentLocationNotFound: there is one environment, $name at $environment, and no \`$1\`" ;;
  esac
}

show() { # FILE
  if building; then ask render || exit; fi
  cat "$facts/$1"
}

list() {
  form=list full='' wanted=''
  while [ $# -gt 0 ]; do
    case $1 in
      -n | --name | -p | --prefix) this_environment "${2-}"; shift ;;
      --name=* | --prefix=*) this_environment "${1#*=}" ;;
      --explicit) [ "$form" = explicit-md5 ] || form=explicit ;;
      --md5) form=explicit-md5 ;;
      -e | --export) form='export' ;;
      --json) form=json ;;
      -f | --full-name) full=yes ;;
      -c | --canonical | -r | --revisions | --no-pip | --show-channel-urls | --reverse | --sha256 | -*) refuse "list $1" ;;
      *) wanted=$1 ;;
    esac
    shift
  done
  [ -z "$of_base" ] || { printf '# packages in environment at %s:\n#\n' "$root"; return; }
  [ "$wanted" ] || { show "$form"; return; }
  [ "$form" = list ] || refuse "list $wanted, in another form than a table,"
  [ -z "$full" ] || wanted="^$wanted\$"
  show list | while IFS= read -r line; do
    case $line in '#'*) printf '%s\n' "$line"; continue ;; esac
    ! printf '%s\n' "${line%% *}" | grep -iqE -- "$wanted" || printf '%s\n' "$line"
  done
}

export_environment() {
  form=environment to=''
  while [ $# -gt 0 ]; do
    case $1 in
      -n | --name | -p | --prefix) this_environment "${2-}"; shift ;;
      --name=* | --prefix=*) this_environment "${1#*=}" ;;
      --no-builds | --no-build) form='environment-no-builds' ;;
      --from-history) form='environment-from-history' ;;
      -f | --file) to=${2-}; shift ;;
      --file=*) to=${1#*=} ;;
      *) refuse "env export $1" ;;
    esac
    shift
  done
  if [ "$to" ]; then show "$form" >"$to"; else show "$form"; fi
}

config() {
  case ${1-} in
    --show | --show-sources | --get) shift ;;
    --describe | --validate | --write-default | --stdin | --json | '') refuse "config ${1-}" 'see `conda config --show`' ;;
    *)
      must_build 'what is set here is set for the rest of a build'
      ask config "$@"
      return
      ;;
  esac
  [ $# -gt 0 ] || { show config; return; }
  for key; do
    show config | awk -v key="$key:" '/^[a-z]/ { shown = $1 == key; found += shown } shown; END { exit !found }' ||
      fail "ArgumentError: invalid configuration parameter \`$key\`"
  done
}

info() {
  case ${1-} in
    '' | -a | --all) show info ;;
    --base) printf '%s\n' "$root" ;;
    -e | --envs) environments ;;
    --json) show info-json ;;
    *) refuse "info $1" ;;
  esac
}

environments() {
  printf '# conda environments:\n#\n%-24s %s\n%-21s *  %s\n\n' base "$root" "$name" "$environment"
}

# Programs and packages that belong to conda itself: a base environment has them, and other requests
# for the base environment are refused.
no_base() { # VERB WORD...
  said="conda $*"
  shift
  while [ $# -gt 0 ]; do
    case $1 in
      -c | --channel | --solver) shift ;;
      -*) ;;
      conda | conda[=\<\>\ ]* | mamba | mamba[=\<\>\ ]* | conda-libmamba-solver* | libmamba* | conda-package-*) ;;
      *) fail "there is no base environment to change with \`$said\`: leave out \`-n base\`, or \`conda activate $name\` first" ;;
    esac
    shift
  done
  printf '# Nothing to do: there is no base environment, and no conda in it to change.\n'
}

change() { # VERB WORD...: passes the change to the build
  verb=$1
  shift
  count=$#
  while [ "$count" -gt 0 ]; do
    case $1 in
      -[ncp]?*) rest=${1#-?}; first=${1%"$rest"}; shift; set -- "$first" "${rest#=}" "$@"; count=$((count + 1)) ;;
      -[!-]?*) rest=${1#-?}; first=${1%"$rest"}; shift; set -- "$first" "-$rest" "$@"; count=$((count + 1)) ;;
      -n | --name | -p | --prefix) this_environment "${2-}"; shift; [ $# -eq 0 ] || shift; count=$((count - 2)) ;;
      --name=* | --prefix=*) this_environment "${1#*=}"; shift; count=$((count - 1)) ;;
      --file | --file=*)
        file=${1#--file=} taken=1
        [ "$1" != --file ] || { file=${2-} taken=2; }
        [ -r "$file" ] || fail "cannot read \`$file\`"
        shift "$taken"; count=$((count - taken))
        while IFS= read -r line || [ "$line" ]; do
          line=${line%%#*}
          case $line in *[!\ ]*) set -- "$@" "$line" ;; esac
        done <"$file"
        ;;
      *) set -- "$@" "$1"; shift; count=$((count - 1)) ;;
    esac
  done
  [ -z "$of_base" ] || { no_base "$verb" "$@"; return; }
  case $verb in
    remove) must_build 'leave the package out of the environment file, or `conda remove` it in a script of --post-install' ;;
    *) must_build 'put the package into the environment file, or `conda install` it in a script of --post-install' ;;
  esac
  ask "$verb" "$@"
}

env_update() {
  must_build 'name the file when you build, or in a script of --post-install'
  file=environment.yml more=''
  while [ $# -gt 0 ]; do
    case $1 in
      -n | --name | -p | --prefix) this_environment "${2-}"; shift ;;
      --name=* | --prefix=*) this_environment "${1#*=}" ;;
      -f | --file) file=${2-}; shift ;;
      --file=*) file=${1#*=} ;;
      -f?*) file=${1#-f} ;;
      -q | --quiet | -v | --verbose | -y | --yes) ;;
      --solver) shift ;;
      --solver=*) ;;
      --prune) more=prune ;;
      *) refuse "env update $1" ;;
    esac
    [ $# -eq 0 ] || shift
  done
  [ -z "$more" ] || refuse 'env update --prune' 'remove packages with `conda remove NAME`'
  [ -z "$of_base" ] || fail "there is no base environment to change: name $name"
  [ -r "$file" ] || fail "EnvironmentFileNotFound: cannot read \`$file\`"
  if ! mkdir -p "$queue/files-$$" || ! cp -- "$file" "$queue/files-$$/"; then
    fail "cannot hand \`$file\` to the build"
  fi
  ask env-update "files-$$/${file##*/}" "$(CDPATH='' cd -P -- "$(dirname -- "$file")" && pwd)"
  status=$?
  rm -rf "$queue/files-$$"
  return "$status"
}

run_program() {
  while :; do
    case ${1-} in
      -n | --name | -p | --prefix) this_environment "${2-}"; shift 2 ;;
      --no-capture-output | --live-stream) shift ;;
      -*) refuse "run $1" ;;
      *) break ;;
    esac
  done
  [ $# -gt 0 ] || fail 'run: which program?'
  PATH=$environment/bin:$PATH CONDA_PREFIX=$environment CONDA_DEFAULT_ENV=$name CONDA_SHLVL=1
  export PATH CONDA_PREFIX CONDA_DEFAULT_ENV CONDA_SHLVL
  exec "$@"
}

verb=${1-}
[ $# -eq 0 ] || shift
case $verb in
  '' | -h | --help)
    echo "usage: $me {install,remove,update,list,env,config,info,run,activate,deactivate,clean} ..."
    echo 'There is no conda here; condense answers what scripts ask of an environment.'
    ;;
  -V | --version) echo 'conda 24.11.0 (condense)' ;;
  install | remove | update) change "$verb" "$@" ;;
  uninstall) change remove "$@" ;;
  upgrade) change update "$@" ;;
  list) list "$@" ;;
  export) export_environment "$@" ;;
  env)
    verb=${1-}
    [ $# -eq 0 ] || shift
    case $verb in
      export) export_environment "$@" ;;
      list) environments ;;
      update) env_update "$@" ;;
      create) refuse "env $verb" "$one_only" ;;
      remove) refuse "env $verb" 'an environment goes with its installation: remove the directory' ;;
      config) refuse "env $verb" 'write `variables:` into the environment file, or `export` in an activation script' ;;
      *) refuse "env $verb" ;;
    esac
    ;;
  config) config "$@" ;;
  info) info "$@" ;;
  run) run_program "$@" ;;
  clean) ;; # there is no package cache
  init) echo '# Nothing to do: no shell needs to know of a conda, the environment is active when a program starts.' ;;
  activate | deactivate)
    # A process cannot change the shell that has started it.
    [ "$verb" = deactivate ] || this_environment "${1-base}"
    if [ "$verb${of_base}" != activate ] || [ "${CONDA_PREFIX-}" != "$environment" ]; then
      fail "CondaError: this shell has no \`conda\` function: \`. $root/etc/profile.d/conda.sh\` before \`conda $verb\`"
    fi
    ;;
  shell)
    case "${1-} " in
      'hook '*) cat "$root/etc/profile.d/conda.sh" ;;
      *) refuse "shell ${1-}" 'use `conda activate`' ;;
    esac
    ;;
  shell.posix | shell.bash | shell.zsh)
    [ "${1-}" = hook ] || refuse "$verb ${1-}" 'use `conda activate`'
    cat "$root/etc/profile.d/conda.sh"
    ;;
  create | rename) refuse "$verb" "$one_only" ;;
  search | repoquery) refuse "$verb" 'the channels are not searched here: `condense lock FILE` says what they have for an environment file' ;;
  *) refuse "$verb" ;;
esac
