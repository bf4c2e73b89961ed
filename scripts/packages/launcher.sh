#!/bin/sh
# Starts condense under its name @NAME@. A wheel cannot hold links.
exec "$(dirname -- "$(readlink -f -- "$0")")/condense" @NAME@ "$@"
