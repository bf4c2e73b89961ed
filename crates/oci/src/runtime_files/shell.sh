#!/bin/sh
# Starts a shell with the image's environment.
for file in /.singularity.d/env/*.sh; do
    [ ! -f "$file" ] || . "$file"
done
if [ -x "${SINGULARITY_SHELL:-}" ]; then
    exec "$SINGULARITY_SHELL" "$@"
elif [ -x /bin/bash ]; then
    SHELL=/bin/bash
    PS1="Apptainer ${APPTAINER_NAME:-}:\\w> "
    export SHELL PS1
    exec /bin/bash --norc "$@"
elif [ -x /bin/sh ]; then
    SHELL=/bin/sh
    export SHELL
    exec /bin/sh "$@"
fi
echo "there is no shell in the image" >&2
exit 1
