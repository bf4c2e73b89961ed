#!/bin/sh
# Starts an instance. The signal tells the runtime, which waits for it, that this is where the instance begins.
kill -CONT 1
for file in /.singularity.d/env/*.sh; do
    [ ! -f "$file" ] || . "$file"
done
[ ! -x /.singularity.d/startscript ] || exec /.singularity.d/startscript "$@"
