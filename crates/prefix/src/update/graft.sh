# Installs wheels beside a read-only environment, whose image is mounted. Started by run.sh in the
# build container instead of pip.sh (crates/prefix/src/update.rs).
# usage: SHELL pip.sh ENVIRONMENT BUILD_DIR
# BUILD_DIR holds surroundings.sh, requirements.txt, options.txt, root, graft.py, unrequested.py and
# compile.py;
# graft.py describes the results.
# shellcheck shell=sh
environment=$1 build=$2
# shellcheck source=crates/prefix/src/steps/surroundings.sh
. "$build/surroundings.sh"
cd "$build" || exit 1
pip_reports "$environment/bin/python" || {
  echo 'its Python has no pip that says what it would install, as 22.2 and newer do' >whole
  exit 0
}
pip_counts_bytes "$environment/bin/python"
exec "$environment/bin/python" "$build/graft.py" "$environment" "$build"
