manager=rpm
caches=var/cache/zypp
keep
list >"$notes/before"
zypper --non-interactive --gpg-auto-import-keys refresh
status=0
zypper --non-interactive install --no-recommends --auto-agree-with-licenses -- "$@" || status=$?
# These inform about updates and restarts, places of packages that were skipped, and a script of a
# package that has failed. The packages are installed.
case $status in
    0 | 100 | 101 | 102 | 103 | 106 | 107) ;;
    *) exit "$status" ;;
esac
check_rpm "$@"
list >"$notes/after"
zypper --non-interactive clean --all
restore
