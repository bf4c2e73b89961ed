# Makes a virtual environment over the Python of a base image, in the build container. on_top.rs
# beside this file starts it.
# usage: SHELL on_top.sh ENVIRONMENT BUILD_DIR
# BUILD_DIR has requirements.txt, ask.sh, and with-conda if the base has a command that activates
# its conda.
# shellcheck shell=sh
exec 2>&1 </dev/null
environment=$1 build=$2
set --
[ ! -d "$build/home" ] || export HOME="$build/home"
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE VIRTUAL_ENV
# Files and settings of the user's home do not belong in an image; the user's variables are used.
export PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
# Older versions of pip have no such option and ignore the variable.
export PIP_ROOT_USER_ACTION=ignore
export PIP_CONFIG_FILE="${PIP_CONFIG_FILE:-/dev/null}" TMPDIR="$build/tmp"
[ "${PIP_CACHE_DIR-}" ] || export PIP_NO_CACHE_DIR=1
umask 022
mkdir -p "$TMPDIR" || exit 1
if [ -f "$build/with-conda" ]; then
  # shellcheck source=/dev/null
  . "$build/with-conda" || exit 1
fi

python=$(command -v python3 || command -v python) || { echo 'there is no Python in the base image'; exit 1; }
echo "the base image has $("$python" --version) at $python"
"$python" -m venv --system-site-packages "$environment" || exit 1
# shellcheck source=/dev/null
. "$build/ask.sh"
# shellcheck disable=SC2317
# pip of the image is newer than the pip that its Python puts into virtual environments.
pip() { "$python" -m pip --python "$environment/bin/python" "$@"; }
ask_first -r "$build/requirements.txt"
pip() { "$environment/bin/python" -m pip "$@"; }
pip install --no-compile --no-warn-script-location -r "$build/requirements.txt" || exit 1
pip freeze --local >"$build/installed.txt" || exit 1
# The image does not keep the times of files, so byte code must not compare them. Files that are not
# Python, such as templates, are skipped.
"$environment/bin/python" -m compileall -q --invalidation-mode unchecked-hash "$environment/lib" >/dev/null || :
rm -f "$environment"/bin/Activate.ps1 "$environment"/bin/activate.csh "$environment"/bin/activate.fish
