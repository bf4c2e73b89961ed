#!/bin/sh
# `conda` and `mamba` of an environment that condense has built (crates/prefix/src/conda.rs): there is no conda behind it. What
# scripts ask of an environment is answered from files; while it is being built, condense itself installs what they want.
root=${0%/*}/..
root=$(CDPATH='' cd -P -- "$root" && pwd) || exit 1
name=@NAME@ queue=@QUEUE@
environment=$root/envs/$name facts=$root/.condense
me=${0##*/}

fail() { printf '%s: %s\n' "$me" "$1" >&2; exit "${2:-1}"; }
refuse() {
  fail "\`conda $1\` is not supported: there is no conda here. Supported: install (while building), list, env export, env list, config --show, info, run, clean"
}
building() { [ -f "$queue/pid" ]; }

ask() { # REQUEST [ARGUMENT...]: hands it to the condense that is building
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
  rm -f "$request".*
  return "$status"
}

this_environment() { # NAME or PATH
  case $1 in
    "$name" | "$environment" | "$environment/") ;;
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
    --show | --show-sources) ;;
    *) refuse "config ${1-}" ;;
  esac
  shift
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

install() {
  building || fail 'the image is read-only: put the package into the environment file, or `conda install` it in a script of --post-install'
  count=$#
  while [ "$count" -gt 0 ]; do
    case $1 in
      -n | --name | -p | --prefix) this_environment "${2-}"; shift 2; count=$((count - 2)) ;;
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
  ask install "$@"
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
    echo "usage: $me {install,list,env,config,info,run,clean} ..."
    echo 'There is no conda here; condense answers what scripts ask of an environment.'
    ;;
  -V | --version) echo 'conda 24.11.0 (condense)' ;;
  install) install "$@" ;;
  list) list "$@" ;;
  export) export_environment "$@" ;;
  env)
    verb=${1-}
    [ $# -eq 0 ] || shift
    case $verb in
      export) export_environment "$@" ;;
      list) environments ;;
      *) refuse "env $verb" ;;
    esac
    ;;
  config) config "$@" ;;
  info) info "$@" ;;
  run) run_program "$@" ;;
  clean) ;; # nothing is kept
  activate)
    this_environment "${1-"$name"}"
    [ "${CONDA_PREFIX-}" = "$environment" ] || refuse 'activate, in a shell without the environment,'
    ;;
  deactivate) refuse deactivate ;;
  shell.posix | shell.bash | shell.zsh) [ "${1-}" = hook ] || refuse "$verb $1"; printf "conda() { '%s' \"\$@\"; }\n" "$root/bin/conda" ;;
  *) refuse "$verb" ;;
esac
