# A virtual environment over the Python of a base image, made in the build container by condense
# (src/pipeline/sif/on_top.rs). usage: SHELL on_top.sh ENVIRONMENT BUILD_DIR
# BUILD_DIR has requirements.txt, ask.sh, and with-conda where the base has a command that activates its conda.
exec 2>&1 </dev/null
environment=$1 build=$2
set --
[ ! -d "$build/home" ] || export HOME="$build/home"
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE VIRTUAL_ENV
# The user's own directory and settings have no place in an image; what the variables say is meant.
export PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
# Older ones have no such option, and pass the variable over.
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
# The image's own is newer than what its Python gives to virtual environments.
pip() { "$python" -m pip --python "$environment/bin/python" "$@"; }
ask_first -r "$build/requirements.txt"
pip() { "$environment/bin/python" -m pip "$@"; }
pip install --no-compile --no-warn-script-location -r "$build/requirements.txt" || exit 1
pip freeze --local >"$build/installed.txt" || exit 1
# Times are not kept in an image, so byte code must not ask for them. Templates are no Python and are passed over.
"$environment/bin/python" -m compileall -q --invalidation-mode unchecked-hash "$environment/lib" >/dev/null || :
rm -f "$environment"/bin/Activate.ps1 "$environment"/bin/activate.csh "$environment"/bin/activate.fish
