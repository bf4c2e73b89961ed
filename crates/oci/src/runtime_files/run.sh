#!/bin/sh
# Runs what the image, or the application of it that was asked for, runs by itself.
for file in /.singularity.d/env/*.sh; do
    [ ! -f "$file" ] || . "$file"
done
if [ -n "${SINGULARITY_APPNAME:-}" ]; then
    for place in "$SINGULARITY_APPNAME" singularity; do
        script=/scif/apps/$place/scif/runscript
        [ ! -x "$script" ] || exec "$script" "$@"
    done
    echo "there is no runscript for the application $SINGULARITY_APPNAME" >&2
    exit 1
fi
[ ! -x /.singularity.d/runscript ] || exec /.singularity.d/runscript "$@"
exec /bin/sh "$@"
