manager=dpkg
volatile="$volatile var/cache/apt"
# Lists of packages that the base does not have are not kept either.
for index in /var/lib/apt/lists/*Packages* /var/lib/apt/lists/*Release; do
    [ ! -e "$index" ] || has_lists=yes
done
[ -n "$has_lists" ] || volatile="$volatile var/lib/apt/lists"
keep
list >"$notes/before"
export DEBIAN_FRONTEND=noninteractive
apt-get -q -o APT::Update::Error-Mode=any update
apt-get -q -y --no-install-recommends -o Dpkg::Use-Pty=0 \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
    install -- "$@"
list >"$notes/after"
apt-get clean
restore
