#!/bin/sh
# The environment of an application below /scif/apps, where one was asked for.
if [ -n "${SINGULARITY_APPNAME:-}" ]; then
    export SINGULARITY_APPNAME
    SCIF_APPS=/scif/apps
    SCIF_APPROOT=$SCIF_APPS/$SINGULARITY_APPNAME
    if [ ! -d "$SCIF_APPROOT" ]; then
        echo "there is no application $SINGULARITY_APPNAME in the image" >&2
        exit 1
    fi
    export SCIF_APPS SCIF_APPROOT
    PATH=$SCIF_APPROOT:$SCIF_APPS/singularity:$PATH
    for place in "$SCIF_APPROOT" "$SCIF_APPS/singularity"; do
        if [ -d "$place/bin" ]; then
            PATH=$place/bin:$PATH
            break
        fi
    done
    for place in "$SCIF_APPROOT" "$SCIF_APPS/singularity"; do
        if [ -d "$place/lib" ]; then
            export LD_LIBRARY_PATH="$place/lib:${LD_LIBRARY_PATH:-}"
            break
        fi
    done
    for file in 01-base.sh 90-environment.sh; do
        for place in "$SCIF_APPROOT" "$SCIF_APPS/singularity"; do
            if [ -f "$place/scif/env/$file" ]; then
                . "$place/scif/env/$file"
                break
            fi
        done
    done
    export PATH
fi
