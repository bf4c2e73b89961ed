#!/bin/sh
# Runs the Python of the environment: conda-python-simple ARGUMENT...
# Part of condense. Copies of this file work alone.
set -u
me=conda-python-simple
die() { printf '%s: %s\n' "$me" "$1" >&2; exit 1; }

# shellcheck source=crates/jobs/run_scripts/parts/python.sh
. "${0%/*}/parts/python.sh"
exec "$python" "$@"
