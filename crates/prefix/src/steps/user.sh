# Runs a user's script as a build step, started by run.sh in the build container
# (crates/prefix/src/steps/user.rs).
# usage: SHELL user.sh ENVIRONMENT BUILD_DIR KIND
# The script KIND.sh in BUILD_DIR is sourced in the user's working directory, as in Tykky, after
# KIND.env. The first command that fails ends it. Its exported variables are passed to pip and to
# the next script.
# shellcheck shell=sh
environment=$1 build=$2 kind=$3
# shellcheck source=crates/prefix/src/steps/surroundings.sh
. "$build/surroundings.sh"
if [ "$kind" = post-install ] && [ -f "$build/uv-wanted" ] && ! command -v uv >/dev/null && find_uv; then
  # User scripts can use this uv too; it is removed after the build.
  mkdir -p "$build/uv-bin"
  ln -sf "$uv" "$build/uv-bin/uv"
  PATH=$PATH:$build/uv-bin
  uv_asks_where_pip_does
fi
if [ -f "${environment%/envs/*}/etc/profile.d/conda.sh" ]; then
  # `conda deactivate` and `conda activate` work as in scripts for Tykky.
  # shellcheck source=crates/prefix/src/conda/hook.sh
  . "${environment%/envs/*}/etc/profile.d/conda.sh"
fi
set -a
# shellcheck source=/dev/null
. "$build/$kind.env"
set +a
cd "$CW_WORKDIR" 2>/dev/null || cd "$CW_BUILD_TMPDIR" || exit 1
if [ "${BASH_VERSION-}" ]; then
  # shellcheck disable=SC2154,SC3047 # KIND.env sets condense_script; bash has ERR
  trap 'echo "$condense_script: line $LINENO: \`$BASH_COMMAND\` failed with exit status $?"' ERR
fi
unset environment kind
set --
set -e
# shellcheck source=/dev/null
. "$CONDENSE_SCRIPT"
set +e
if [ "${BASH_VERSION-}" ]; then
  # shellcheck disable=SC3047 # bash has ERR
  trap - ERR
  # shellcheck disable=SC3044 # bash has declare
  { declare -f; declare -px; } | grep -vE '^declare -[a-z]*r' >"$build/exports"
fi
