# Installs wheels beside an environment that nobody can write into: its image is mounted. Run by run.sh in the build
# container instead of pip.sh (crates/prefix/src/update.rs). usage: SHELL pip.sh ENVIRONMENT BUILD_DIR
# BUILD_DIR has surroundings.sh, requirements.txt, options.txt, root, graft.py and compile.py; see graft.py for what comes of it.
environment=$1 build=$2
# shellcheck source=crates/prefix/src/steps/surroundings.sh
. "$build/surroundings.sh"
cd "$build" || exit 1
exec "$environment/bin/python" "$build/graft.py" "$environment" "$build"
