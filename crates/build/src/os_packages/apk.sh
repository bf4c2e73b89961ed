manager=apk
keep
list >"$notes/before"
apk add --no-cache "$@"
list >"$notes/after"
restore
