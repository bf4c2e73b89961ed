manager=rpm
caches='var/cache/dnf var/cache/yum'
keep
list >"$notes/before"
microdnf -y --nodocs --setopt=install_weak_deps=0 install "$@"
check_rpm "$@"
list >"$notes/after"
microdnf clean all
restore
