manager=rpm
keep
list >"$notes/before"
yum -y --setopt=tsflags=nodocs install "$@"
list >"$notes/after"
yum clean all
rm -rf /var/cache/yum
restore
