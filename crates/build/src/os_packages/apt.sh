list() { dpkg-query -W -f='${Package} ${Version} ${Status}\n' | sed -n 's/ install ok installed$//p'; }
list >"$notes/before"
export DEBIAN_FRONTEND=noninteractive
lists=/var/lib/apt/lists
archives=/var/cache/apt
had_lists=yes
is_empty "$lists" && had_lists=no
apt-get -q -o APT::Update::Error-Mode=any update
apt-get -q -y --no-install-recommends -o Dpkg::Use-Pty=0 \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
    install -- "$@"
list >"$notes/after"
apt-get clean
rm -f "$archives/pkgcache.bin" "$archives/srcpkgcache.bin"
[ "$had_lists" = yes ] || rm -rf "$lists"/*
restore
