list() { apk info -v 2>/dev/null | sed -n 's/^\(.*\)-\([^-]*-r[0-9]*\)$/\1 \2/p'; }
list >"$notes/before"
apk add --no-cache "$@"
list >"$notes/after"
restore
