manager=rpm
keep
list >"$notes/before"
zypper --non-interactive --gpg-auto-import-keys refresh
status=0
zypper --non-interactive install --no-recommends --auto-agree-with-licenses -- "$@" || status=$?
# These say that the packages are installed: 102 and 103 ask for a restart, and 107 tells that a
# script of a package has failed.
case $status in
    0 | 102 | 103 | 107) ;;
    *) exit "$status" ;;
esac
list >"$notes/after"
zypper --non-interactive clean --all
restore
