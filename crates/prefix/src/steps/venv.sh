#!/bin/sh
# Creates a virtual environment in the build container (crates/prefix/src/venv.rs).
# usage: venv.sh ENVIRONMENT BUILD_DIR INTERPRETER MANAGED [--system-site-packages]
# If MANAGED is a version, uv downloads an interpreter of that version; INTERPRETER then only helps
# to find uv.
set -u
exec 2>&1 </dev/null
environment=$1 build=$2 interpreter=$3 managed=$4 site=$5
# The home directory is empty except for configuration of pip and uv: the steps must not use the
# user's own.
[ ! -d "$build/home" ] || export HOME="$build/home"
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE PYTHONPLATLIBDIR VIRTUAL_ENV LD_LIBRARY_PATH LD_PRELOAD
export PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1 TMPDIR="$build/tmp"
umask 022
mkdir -p "$TMPDIR" || exit 1
# shellcheck source=crates/prefix/src/steps/surroundings.sh
. "$build/surroundings.sh"

printf '\n::condense-step creating the virtual environment\n'
failed() { printf '\n::condense-failed %s\n' "$1"; exit 1; }
if [ "$managed" ]; then
  for uv in "$build/uv" "$build/uv-of-index/bin/uv"; do
    [ -x "$uv" ] && "$uv" --version >/dev/null 2>&1 && break
  done
  [ -x "$uv" ] || "$interpreter" -m pip install --quiet --no-compile --target "$build/uv-of-index" uv
  [ -x "$uv" ] || { echo '--uv: there is no uv: none on PATH that starts here, and pip cannot fetch it'; failed 1; }
  pip() { command -v "$interpreter" >/dev/null && "$interpreter" -m pip "$@"; }
  uv_asks_where_pip_does
  # shellcheck disable=SC2086 # one option, or none
  UV_PYTHON_INSTALL_DIR="${environment%/*}/uv/python" \
    "$uv" venv --seed ${no_index:+"$no_index"} --managed-python --python "$managed" $site "$environment" || failed $?
else
  command -v "$interpreter" >/dev/null || { echo "there is no $interpreter in the container"; failed 127; }
  # shellcheck disable=SC2086
  "$interpreter" -m venv $site "$environment" || failed $?
fi
printf '\n::condense-done\n'
