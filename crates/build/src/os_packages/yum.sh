manager=rpm
keep
list >"$notes/before"
yum -y --setopt=tsflags=nodocs install "$@"
# yum succeeds if it knows one of the packages.
for name; do
    rpm -q "$name" >/dev/null || rpm -q --whatprovides "$name" >/dev/null || {
        echo "No package $name available."
        exit 1
    }
done
list >"$notes/after"
yum clean all
rm -rf /var/cache/yum
restore
