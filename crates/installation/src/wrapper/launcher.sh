#!/bin/sh
# Written by condense: sources the environment's activation scripts, then executes the program.
# This file is part of the image. The files in bin/ start it in the container, but only if the
# effect of the scripts could not be determined when the image was built.

# The scripts are sourced in a function, as conda does, so that a script cannot change the arguments
# of this file.
# shellcheck disable=SC1090,SC2043
condense_activate() {
  for condense_script in @SCRIPTS@; do
    . "$condense_script"
  done
}

# The exit status of a script is ignored, because many scripts end in a test that may fail. A script
# that ends the shell would also prevent the start of the program, so this is reported.
trap 'printf "%s: the activation script %s ended the shell\n" "${1##*/}" "$condense_script" >&2; exit 125' EXIT
condense_activate
trap - EXIT
unset condense_script
unset -f condense_activate
exec "$@"
