manager=rpm
caches='var/cache/dnf var/lib/dnf/repos'
keep
list >"$notes/before"
dnf -y --setopt=install_weak_deps=False --setopt=tsflags=nodocs install "$@"
check_rpm "$@"
list >"$notes/after"
dnf clean all
restore
