# Installs wheels beside an environment that nobody can write into: its image is mounted. Run by run.sh in the build
# container instead of pip.sh (crates/prefix/src/update.rs). usage: SHELL pip.sh ENVIRONMENT BUILD_DIR
# BUILD_DIR has surroundings.sh, requirements.txt, options.txt, root, graft.py and compile.py; see graft.py for what comes of it.
environment=$1 build=$2
# shellcheck source=crates/prefix/src/steps/surroundings.sh
. "$build/surroundings.sh"
cd "$build" || exit 1
pip_reports "$environment/bin/python" || {
  echo 'its Python has no pip that says what it would install, as 22.2 and newer do' >whole
  exit 0
}
exec "$environment/bin/python" "$build/graft.py" "$environment" "$build"
