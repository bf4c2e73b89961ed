manager=rpm
caches=var/cache/yum
keep
list >"$notes/before"
yum -y --setopt=tsflags=nodocs install "$@"
check_rpm "$@"
list >"$notes/after"
yum clean all
restore
