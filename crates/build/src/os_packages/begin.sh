# Written by condense: installs packages of the distribution with its own package manager.
# The packages are the arguments. Everything in /tmp is outside of the image.
set -e
umask 022
# Directory that the package manager works in.
top=
notes=/tmp/condense-os-packages
mkdir "$notes"
export LC_ALL=C

# Logs name the time of this run, so they become again what they were. Directories that packages
# have made stay.
logs='var/log var/cache/ldconfig var/cache/debconf'
# Caches become again what they were.
caches=''
has_lists=''
manager=''
keep() {
    for dir in $logs $caches; do
        if [ ! -d "$top/$dir" ] || [ -h "$top/$dir" ]; then continue; fi
        mkdir -p "$notes/kept/$dir"
        cp -a "$top/$dir/." "$notes/kept/$dir/"
    done
}
restore() {
    for dir in $logs; do
        [ -d "$notes/kept/$dir" ] || continue
        if [ -h "$top/$dir" ]; then rm -f "$top/$dir"; fi
        mkdir -p "$top/$dir"
        remove_files "$top/$dir"
        cp -a "$notes/kept/$dir/." "$top/$dir/"
    done
    for dir in $caches; do
        rm -rf "$top/${dir:?}"
        [ -d "$notes/kept/$dir" ] || continue
        mkdir -p "$top/$dir"
        cp -a "$notes/kept/$dir/." "$top/$dir/"
    done
}
# Removes everything below a directory but directories.
remove_files() {
    for each in "$1"/* "$1"/.[!.]* "$1"/..?*; do
        if [ -d "$each" ] && [ ! -h "$each" ]; then
            remove_files "$each"
        elif [ -e "$each" ] || [ -h "$each" ]; then
            rm -f "$each"
        fi
    done
}

# Ends the run because there is no package of this name.
no_package() {
    echo "condense: no package $1"
    exit 1
}
# Checks that rpm has each package that was asked for: some package managers install what they know
# and succeed.
check_rpm() {
    for name; do
        rpm -q "${name%%=*}" >/dev/null 2>&1 ||
            rpm -q --whatprovides "${name%%=*}" >/dev/null 2>&1 ||
            no_package "$name"
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

