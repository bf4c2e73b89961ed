#!/bin/sh
# Runs a command with the image's environment.
for file in /.singularity.d/env/*.sh; do
    [ ! -f "$file" ] || . "$file"
done
exec "$@"
