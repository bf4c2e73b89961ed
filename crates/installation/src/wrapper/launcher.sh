#!/bin/sh
# Written by condense: sources the environment's activation scripts, then becomes the program. Part of the image; started by
# bin/* inside the container, and only where the effect of the scripts could not be worked out when the image was built.

# In a function, as conda does it: what a script does to the arguments stays there.
# shellcheck disable=SC1090,SC2043
condense_activate() {
  for condense_script in @SCRIPTS@; do
    . "$condense_script"
  done
}

# What a script returns says nothing: many end in a test that may fail. One that ends the shell would end the program unseen.
trap 'printf "%s: the activation script %s ended the shell\n" "${1##*/}" "$condense_script" >&2; exit 125' EXIT
condense_activate
trap - EXIT
unset condense_script
unset -f condense_activate
exec "$@"
