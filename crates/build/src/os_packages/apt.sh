manager=dpkg
caches=var/cache/apt
# Lists of packages that the base does not have are not kept either.
for index in "$top"/var/lib/apt/lists/*Packages* "$top"/var/lib/apt/lists/*Release; do
    [ ! -e "$index" ] || has_lists=yes
done
[ -n "$has_lists" ] || caches="$caches var/lib/apt/lists"
keep
list >"$notes/before"
export DEBIAN_FRONTEND=noninteractive
apt-get -q -o APT::Update::Error-Mode=any update
# A name that apt does not know would be a pattern of many names, or a request to remove.
for name; do
    plain=${name%%=*}
    plain=${plain%%:*}
    apt-cache --all-names pkgnames "$plain" | grep -qxF -e "$plain" || no_package "$name"
done
apt-get -q -y --no-install-recommends -o Dpkg::Use-Pty=0 \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
    install -- "$@"
list >"$notes/after"
apt-get clean
restore
