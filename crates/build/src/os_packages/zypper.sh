manager=rpm
keep
list >"$notes/before"
zypper --non-interactive --gpg-auto-import-keys refresh
zypper --non-interactive install --no-recommends --auto-agree-with-licenses -- "$@"
list >"$notes/after"
zypper --non-interactive clean --all
restore
