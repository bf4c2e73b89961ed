# Runs the post-link script of a package in the build container (crates/prefix/src/steps.rs).
# Started by run.sh, and by `conda install` in a user's script.
# usage: SHELL post-link.sh ENVIRONMENT SCRIPT PACKAGE VERSION NUMBER
# Like conda, it activates the environment as far as it is installed, and sources the script:
# `return` ends the script.
# shellcheck shell=sh
environment=$1 script=$2
PREFIX=$environment PKG_NAME=$3 PKG_VERSION=$4 PKG_BUILDNUM=$5 ROOT_PREFIX=${environment%/envs/*}
export PREFIX PKG_NAME PKG_VERSION PKG_BUILDNUM ROOT_PREFIX
cd "$environment/bin" || exit 1
if [ -f "${0%/*}/activate-variables" ]; then
  # shellcheck source=/dev/null
  . "${0%/*}/activate-variables"
fi
# Sorts by bytes, as in all other places.
locale=${LC_ALL-unset} LC_ALL=C commands=''
for found in "$environment"/etc/conda/activate.d/*.sh; do
  # A shell other than bash exits at code that it cannot parse.
  if [ -f "$found" ] && { [ "${BASH_VERSION-}" ] || sh -n "$found" 2>/dev/null; }; then
    case $found in *\'*) ;; *) commands="$commands . '$found';" ;; esac
  fi
done
if [ "$locale" = unset ]; then unset LC_ALL; else LC_ALL=$locale; fi
unset locale found
set --
eval "$commands"
unset commands
# shellcheck source=/dev/null
. "$environment/bin/$script"
