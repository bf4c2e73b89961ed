# Runs the pip step of an environment's build, started by run.sh in the build container
# (crates/prefix/src/steps/pip.rs).
# usage: SHELL pip.sh ENVIRONMENT BUILD_DIR [PIP_HERE PYTHON GLIBC]
# With the three optional arguments the script runs outside of any container, for wheels only: see
# pip_here.py. Files in BUILD_DIR; each has an effect only if it exists:
#   surroundings.sh    environment variables, described in that file
#   ask.sh             functions that ask the caller before a download
#   requirements.txt   the user's requirements; with pip-dry-run beside it they are only reported
#   locked.txt         archives with their digests, downloaded and built into wheels
#   locked-names.txt   names and versions of these wheels, which are then installed: the installed
#                      packages hold no trace of the paths of their wheels
#   locked-direct.txt  repositories by commit, and directories
#   uninstall.txt      packages that are removed before anything is installed
#   uninstall-only     nothing else is done
#   unrequested.txt    packages of a lock that nobody has asked for, for unrequested.py
#   old_report.py      reports the installed packages for a pip that cannot
#   root               the environment cannot be written: pip installs wheels, also those that it
#                      builds, below the directory that this file names, see pip_beside.py. If more
#                      is necessary, nothing is installed, this script fails, and the file
#                      `whole` has the reason
#   uv-wanted          uv installs requirements.txt; `uv` beside it is the host's own uv
# The script is run by bash if there is one: the activation scripts of many packages need bash.
# shellcheck shell=sh
environment=$1 build=$2 here=${3-} place=${4-} glibc=${5-}
python=$environment/bin/python

# shellcheck source=crates/prefix/src/steps/surroundings.sh
. "$build/surroundings.sh"
cd "$build" || exit 1

if ! "$python" -c 'import pip' 2>/dev/null; then
  # Environments of pixi have no pip. The pip that Python carries for this case runs from its
  # archive and is not installed.
  for found in "$environment"/lib/*/ensurepip/_bundled/pip-*.whl; do :; done
  if [ ! -f "$found" ]; then
    echo 'there is no pip in this environment, and its Python carries none'
    exit 1
  fi
  export PYTHONPATH="$found"
fi

root='' new=$environment
if [ -f root ]; then
  root=$(cat root) new=$root$environment
  pip_reports "$python" || {
    echo 'its Python has no pip that says what it would install, as 22.2 and newer do' >whole
    exit 1
  }
fi
pip() {
  if [ "$here" ]; then
    "$python" "$here" "$place" "$glibc" "$@"
  elif [ "$root" ]; then
    "$python" "$build/pip_beside.py" "$environment" "$root" "$@"
    status=$?
    [ ! -f whole ] || exit 1
    return "$status"
  else
    "$python" -m pip "$@"
  fi
}

run() {
  pip "$@" || exit
}
# shellcheck source=crates/prefix/src/steps/ask.sh
. "$build/ask.sh"
pip_counts_bytes "$python"

install() {
  [ -z "$here" ] || set -- --only-binary :all: "$@"
  run install --no-compile --no-warn-script-location "$@"
}

install_and_report() {
  if pip_reports "$python"; then
    install --report pip-report.json "$@"
  else
    # The log of an old pip contains most of the report.
    install --log pip.log "$@"
    "$python" "$build/old_report.py" pip.log pip-report.json || rm -f pip-report.json
  fi
}

if [ -f uninstall.txt ]; then
  pip uninstall --yes -r uninstall.txt || exit
  [ ! -f uninstall-only ] || exit 0
fi
if [ -f pip-dry-run ]; then
  if pip_reports "$python"; then
    run install --dry-run --report pip-report.json -r requirements.txt
  else
    echo "pip $(pip_version "$python") cannot say what it would install, as 22.2 and newer can" >pip-cannot
  fi
  exit 0
fi
# uv does not report which packages it installed and from which source, so pip is asked about
# exactly these versions.
install_with_uv() {
  find_uv || {
    echo '--uv: there is no uv: none in the environment, none on PATH that starts here, and pip cannot fetch it'
    exit 1
  }
  export UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS="${UV_PYTHON_DOWNLOADS:-never}"
  uv_asks_where_pip_does
  "$uv" pip freeze --quiet --python "$python" >uv-before || exit
  if [ "${CONDENSE_ASKS-}" ] && "$uv" pip install --dry-run --color never --python "$python" -r requirements.txt ${no_index:+"$no_index"} >pip-asked 2>&1; then
    ask "$build/pip-asked"
  fi
  echo 'Installing uv packages:'
  "$uv" pip install --python "$python" -r requirements.txt ${no_index:+"$no_index"} || exit
  "$uv" pip freeze --quiet --python "$python" >uv-after || exit
  grep -E '^(-i|--index-url|--extra-index-url|-f|--find-links|--no-index|--trusted-host|--pre)([ =]|$)' requirements.txt >uv-exact.txt
  grep -vxFf uv-before uv-after >>uv-exact.txt || return 0
  pip_reports "$python" && pip install --quiet --dry-run --ignore-installed --no-deps --report pip-report.json -r uv-exact.txt && return
  rm -f pip-report.json
  echo '::condense-problem pip does not find what uv has installed: the lock leaves its lines open'
}

if [ -f requirements.txt ] && [ -f uv-wanted ]; then
  install_with_uv
elif [ -f requirements.txt ]; then
  ask_first ${here:+--only-binary=:all:} -r requirements.txt
  install_and_report -r requirements.txt
fi
if [ -f locked.txt ] || [ -f locked-direct.txt ]; then
  # A lock overrides these settings.
  unset PIP_CONSTRAINT PIP_NO_BINARY PIP_ONLY_BINARY PIP_REQUIRE_HASHES
fi
if [ -f locked-direct.txt ]; then
  install --no-deps -r locked-direct.txt
fi
if [ -f locked.txt ]; then
  mkdir -p wheels || exit 1
  if ! pip_reports "$python"; then
    # The oldest versions of pip read `NAME @ ….whl` as the name of a file.
    sed 's/^[^- ][^ ]* @ //' locked.txt >locked-urls.txt && mv locked-urls.txt locked.txt || exit 1
  fi
  if [ "$here" ]; then
    run download --only-binary :all: --no-deps --require-hashes --dest wheels -r locked.txt
  else
    run wheel --no-deps --require-hashes --wheel-dir wheels -r locked.txt
  fi
  # pip uses only the archives that were just checked, whatever other configuration says.
  unset PIP_FIND_LINKS PIP_INDEX_URL PIP_EXTRA_INDEX_URL
  PIP_CONFIG_FILE=/dev/null
  export PIP_CONFIG_FILE
  install --no-deps --no-index --find-links wheels -r locked-names.txt
fi
if [ -f unrequested.txt ]; then
  "$python" -S -s "$build/unrequested.py" "$new" unrequested.txt || exit
fi

pip check >pip-check 2>&1 && exit 0
while IFS= read -r line; do
  [ -z "$line" ] || printf '::condense-problem %s\n' "$line"
done <pip-check
exit 0
