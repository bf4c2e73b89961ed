# Written by condense: installs packages of the distribution with its own package manager.
# The packages are the arguments. Everything in /tmp is outside of the image.
set -e
umask 022
notes=/tmp/condense-os-packages
mkdir "$notes"
export LC_ALL=C

# Logs and caches name the time of this run, so they become again what they were.
volatile='var/log var/cache/ldconfig var/cache/debconf'
has_lists=''
manager=''
keep() {
    for dir in $volatile; do
        if [ ! -d "/$dir" ] || [ -h "/$dir" ]; then continue; fi
        mkdir -p "$notes/kept/$dir"
        cp -a "/$dir/." "$notes/kept/$dir/"
    done
}
restore() {
    for dir in $volatile; do
        [ -d "$notes/kept/$dir" ] || continue
        rm -rf "/${dir:?}"
        mkdir -p "/$dir"
        cp -a "$notes/kept/$dir/." "/$dir/"
    done
}

# Prints the packages that are installed, each with its version.
list() { "list_of_$manager"; }
list_of_rpm() { rpm -qa --qf '%{NAME} %{VERSION}-%{RELEASE}\n'; }
list_of_apk() { apk info -v 2>/dev/null | sed -n 's/^\(.*\)-\([^-]*-r[0-9]*\)$/\1 \2/p'; }
list_of_dpkg() {
    # shellcheck disable=SC2016  # fields of dpkg-query
    dpkg-query -W -f='${Package} ${Version} ${Status}\n' | sed -n 's/ install ok installed$//p'
}

