manager=rpm
keep
list >"$notes/before"
dnf -y --setopt=install_weak_deps=False --setopt=tsflags=nodocs install "$@"
list >"$notes/after"
dnf clean all
rm -rf /var/cache/dnf /var/lib/dnf/repos
restore
