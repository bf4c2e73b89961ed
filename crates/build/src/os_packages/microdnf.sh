manager=rpm
keep
list >"$notes/before"
microdnf -y --nodocs --setopt=install_weak_deps=0 install "$@"
list >"$notes/after"
microdnf clean all
rm -rf /var/cache/dnf /var/cache/yum
restore
