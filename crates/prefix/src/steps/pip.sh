# pip's part of an environment's build steps, run by run.sh in the build container (crates/prefix/src/steps/pip.rs).
# usage: SHELL pip.sh ENVIRONMENT BUILD_DIR [PIP_HERE PYTHON GLIBC]
# With three arguments more it runs outside of any container, for wheels only: see pip_here.py.
# In BUILD_DIR, each done when it is there:
#   pip-activate       what activates the environment: compilers of conda announce themselves there
#   requirements.txt   what the user asks for; with pip-dry-run beside it nothing is installed, only reported
#   locked.txt         archives with their digests, fetched and made wheels of, and then
#   locked-names.txt   the same by name and version: what is installed has no trace of where its wheel lay
#   locked-direct.txt  repositories by commit and directories
# It is run by bash where there is one: activation scripts of many packages need it.
environment=$1 build=$2 here=${3-} place=${4-} glibc=${5-}
python=$environment/bin/python

if [ -f "$build/pip-activate" ]; then
  # shellcheck source=/dev/null
  . "$build/pip-activate"
fi
for name in PIP_CERT SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE; do
  # Certificates of the host lie where the container does not look; they were brought along.
  [ ! -f "$build/certificates/$name" ] || export "$name=$build/certificates/$name"
done
# The host's own configuration of pip: its index, its proxy. The user's files come after it, as ever.
[ ! -d "$build/config" ] || export XDG_CONFIG_DIRS="$build/config${XDG_CONFIG_DIRS:+:$XDG_CONFIG_DIRS}"
# pip's own cache would fill a quota; it is used where the user has put it somewhere.
[ "${PIP_CACHE_DIR-}" ] || export PIP_NO_CACHE_DIR=1
# What is installed and where is not the user's configuration's to say.
unset PIP_TARGET PIP_PREFIX PIP_ROOT PIP_SRC PIP_DRY_RUN PIP_REPORT PIP_REQUIREMENT PIP_EDITABLE
export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0
# Nobody is there to answer.
export PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 GIT_TERMINAL_PROMPT=0
export GIT_SSH_COMMAND="${GIT_SSH_COMMAND:-ssh -oBatchMode=yes}"
cd "$build" || exit 1

for found in "$environment"/lib/python*/site-packages/pip/__init__.py; do :; done
if [ ! -f "$found" ]; then
  # Environments of pixi have none; the one that Python carries for such moments runs from its archive and is not installed.
  for found in "$environment"/lib/python*/ensurepip/_bundled/pip-*.whl; do :; done
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

install() {
  [ -z "$here" ] || set -- --only-binary :all: "$@"
  run install --no-compile --no-warn-script-location --root-user-action ignore "$@"
}

if [ -f pip-dry-run ]; then
  run install --dry-run --report pip-report.json -r requirements.txt
  exit 0
fi
if [ -f requirements.txt ]; then
  install --report pip-report.json -r requirements.txt
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
