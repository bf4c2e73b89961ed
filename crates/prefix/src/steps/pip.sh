# pip's part of an environment's build steps, run by run.sh in the build container (crates/prefix/src/steps/pip.rs).
# usage: SHELL pip.sh ENVIRONMENT BUILD_DIR [PIP_HERE PYTHON GLIBC]
# With three arguments more it runs outside of any container, for wheels only: see pip_here.py.
# In BUILD_DIR, each done when it is there:
#   surroundings.sh    variables, see there
#   ask.sh             how the caller is asked before anything is fetched
#   requirements.txt   what the user asks for; with pip-dry-run beside it nothing is installed, only reported
#   locked.txt         archives with their digests, fetched and made wheels of, and then
#   locked-names.txt   the same by name and version: what is installed has no trace of where its wheel lay
#   locked-direct.txt  repositories by commit and directories
#   old_report.py      says what a pip has installed that cannot say it
#   uv-wanted          uv installs what is in requirements.txt; `uv` beside it is the host's own
# It is run by bash where there is one: activation scripts of many packages need it.
environment=$1 build=$2 here=${3-} place=${4-} glibc=${5-}
python=$environment/bin/python

# shellcheck source=crates/prefix/src/steps/surroundings.sh
. "$build/surroundings.sh"
cd "$build" || exit 1

if ! "$python" -c 'import pip' 2>/dev/null; then
  # Environments of pixi have none; the one that Python carries for such moments runs from its archive and is not installed.
  for found in "$environment"/lib/*/ensurepip/_bundled/pip-*.whl; do :; done
  if [ ! -f "$found" ]; then
    echo 'there is no pip in this environment, and its Python carries none'
    exit 1
  fi
  export PYTHONPATH="$found"
fi

pip() {
  if [ "$here" ]; then "$python" "$here" "$place" "$glibc" "$@"; else "$python" -m pip "$@"; fi
}

run() {
  pip "$@" || exit
}
# shellcheck source=crates/prefix/src/steps/ask.sh
. "$build/ask.sh"

install() {
  [ -z "$here" ] || set -- --only-binary :all: "$@"
  run install --no-compile --no-warn-script-location "$@"
}

install_and_report() {
  if pip_reports "$python"; then
    install --report pip-report.json "$@"
  else
    # Its log says most of it.
    install --log pip.log "$@"
    "$python" "$build/old_report.py" pip.log pip-report.json || rm -f pip-report.json
  fi
}

if [ -f pip-dry-run ]; then
  if pip_reports "$python"; then
    run install --dry-run --report pip-report.json -r requirements.txt
  else
    echo "pip $(pip_version "$python") cannot say what it would install, as 22.2 and newer can" >pip-cannot
  fi
  exit 0
fi
# uv does not report what it installed and from where, so pip is asked about exactly these versions.
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
  # A lock has the last word.
  unset PIP_CONSTRAINT PIP_NO_BINARY PIP_ONLY_BINARY PIP_REQUIRE_HASHES
fi
if [ -f locked-direct.txt ]; then
  install --no-deps -r locked-direct.txt
fi
if [ -f locked.txt ]; then
  mkdir -p wheels || exit 1
  if ! pip_reports "$python"; then
    # To the oldest `NAME @ ….whl` is the name of a file.
    sed 's/^[^- ][^ ]* @ //' locked.txt >locked-urls.txt && mv locked-urls.txt locked.txt || exit 1
  fi
  if [ "$here" ]; then
    run download --only-binary :all: --no-deps --require-hashes --dest wheels -r locked.txt
  else
    run wheel --no-deps --require-hashes --wheel-dir wheels -r locked.txt
  fi
  # Nothing but what was just checked is looked at, whatever other configuration says.
  unset PIP_FIND_LINKS PIP_INDEX_URL PIP_EXTRA_INDEX_URL
  PIP_CONFIG_FILE=/dev/null
  export PIP_CONFIG_FILE
  install --no-deps --no-index --find-links wheels -r locked-names.txt
fi

pip check >pip-check 2>&1 && exit 0
while IFS= read -r line; do
  [ -z "$line" ] || printf '::condense-problem %s\n' "$line"
done <pip-check
exit 0
