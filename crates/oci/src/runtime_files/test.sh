#!/bin/sh
# Runs the tests of the image, or of the application of it that was asked for.
for file in /.singularity.d/env/*.sh; do
    [ ! -f "$file" ] || . "$file"
done
if [ -n "${SINGULARITY_APPNAME:-}" ]; then
    for place in "$SINGULARITY_APPNAME" singularity; do
        script=/scif/apps/$place/scif/test
        [ ! -x "$script" ] || exec "$script" "$@"
    done
    echo "there are no tests for the application $SINGULARITY_APPNAME" >&2
    exit 1
fi
[ ! -x /.singularity.d/test ] || exec /.singularity.d/test "$@"
exec /bin/sh -c true
