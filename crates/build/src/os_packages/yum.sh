list() { rpm -qa --qf '%{NAME} %{VERSION}-%{RELEASE}\n'; }
list >"$notes/before"
yum -y --setopt=tsflags=nodocs install "$@"
list >"$notes/after"
yum clean all
rm -rf /var/cache/yum
restore
