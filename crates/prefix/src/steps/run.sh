#!/bin/sh
# Runs the build steps of an environment, once inside the build container, started by condense
# (crates/prefix/src/steps.rs).
# usage: run.sh ENVIRONMENT BUILD_DIR
# Every input is a file in BUILD_DIR; a step whose file is missing is left out. Lines that begin
# with `::condense-` are for the caller; all others are output of the steps.
set -u
exec 2>&1 </dev/null
environment=$1 build=$2

# The home directory is empty except for configuration of pip and uv: the steps must not use the
# user's own.
[ ! -d "$build/home" ] || export HOME="$build/home"
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE PYTHONPLATLIBDIR LD_LIBRARY_PATH LD_PRELOAD
for name in $(env | sed -n 's/^\(_\{0,1\}CONDA_[A-Za-z0-9_]*\)=.*/\1/p'); do unset "$name"; done
PATH=$environment/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
unset VIRTUAL_ENV
if [ -f "$build/venv" ]; then
  export VIRTUAL_ENV="$environment"
else
  export CONDA_PREFIX="$environment" CONDA_DEFAULT_ENV="${environment##*/}" CONDA_SHLVL=1
fi
TMPDIR=$build/tmp PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
export PATH TMPDIR PYTHONNOUSERSITE PYTHONDONTWRITEBYTECODE PYTHONHASHSEED
umask 022
mkdir -p "$TMPDIR" || exit 1

step() { printf '\n::condense-step %s\n' "$1"; }
failed() { printf '\n::condense-failed %s\n' "$1"; exit 1; }

shell=$(command -v bash || command -v sh)

user() { # KIND
  [ -f "$build/$1.sh" ] || return 0
  step "the $1 script $(cat "$build/$1.name")"
  "$shell" "$build/user.sh" "$environment" "$build" "$1" || failed $?
}

user pre-install
if [ -s "$build/post-link" ]; then
  # Packages are listed in the order of their dependencies. All are linked before the first script
  # runs, as in conda.
  while IFS='	' read -r script package version number; do
    step "the post-link script of $package"
    "$shell" "$build/post-link.sh" "$environment" "$script" "$package" "$version" "$number" </dev/null || failed $?
    if [ -s "$environment/.messages.txt" ]; then
      while IFS= read -r line || [ "$line" ]; do printf '::condense-message %s %s\n' "$package" "$line"; done \
        <"$environment/.messages.txt"
    fi
    rm -f "$environment/.messages.txt"
  done <"$build/post-link"
fi

if [ -f "$build/pip.sh" ]; then
  step 'pip install'
  "$shell" "$build/pip.sh" "$environment" "$build" || failed $?
fi

user post-install

if [ -f "$build/compile.list" ]; then
  step 'compiling Python files'
  walk=
  [ ! -f "$build/surroundings.sh" ] || walk=--walk
  [ ! -f "$build/sources.index" ] || walk=--fed
  # Sources beside an environment that is read-only are compiled for their later path.
  into=$environment
  [ ! -f "$build/compile.into" ] || into=$(cat "$build/compile.into")
  status=0
  # Neither the user's options of Python nor the locale change the byte code.
  said=$(
    for name in $(env | sed -n 's/^\(PYTHON[A-Z0-9_]*\)=.*/\1/p'); do unset "$name"; done
    export PYTHONHASHSEED=0 PYTHONUTF8=1 PYTHONDONTWRITEBYTECODE=1
    "$environment/bin/python" -S -s "$build/compile.py" "$into" "$build/compile.list" $walk --as "$environment" 2>&1
  ) || status=$?
  case $status in
    0) [ -z "$said" ] || printf '%s\n' "$said" ;;
    # An interpreter that does not start in the build container may start where programs run: it may
    # need host directories that only users see.
    126 | 127) printf '\n::condense-not-compiled %s\n' "$(printf '%s\n' "$said" | tail -n 1)" ;;
    *) printf '%s\n' "$said"; failed $status ;;
  esac
fi

if [ -f "$build/activation.sh" ]; then
  step 'capturing the activation'
  # shellcheck source=/dev/null
  ( . "$build/activation.sh" ) || failed $?
fi
if [ -f "$build/record_start.py" ]; then
  step 'recording the files of a start'
  # The image is whole without the result.
  (
    trap '' INT
    exec "$environment/bin/python" -S -s "$build/record_start.py" "$environment" "$build" \
      "$(cat "$build/start.seconds")" "$build/start.py"
  ) || :
fi
printf '\n::condense-done\n'
