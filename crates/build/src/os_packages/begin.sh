# Written by condense: installs packages of the distribution with its own package manager.
# The packages are the arguments. Everything in /tmp is outside of the image.
set -e
umask 022
notes=/tmp/condense-os-packages
mkdir "$notes"
export LC_ALL=C

# Logs and caches name the time of this run, so they become again what they were.
volatile='var/log var/cache/ldconfig var/cache/debconf'
keep() {
    for dir in $volatile; do
        [ -d "/$dir" ] && [ ! -h "/$dir" ] || continue
        mkdir -p "$notes/kept/$dir"
        cp -a "/$dir/." "$notes/kept/$dir/"
    done
}
restore() {
    for dir in $volatile; do
        [ -d "$notes/kept/$dir" ] || continue
        rm -rf "/$dir"
        mkdir -p "/$dir"
        cp -a "$notes/kept/$dir/." "/$dir/"
    done
}
# Removes what is in a directory that was empty before.
is_empty() { [ -z "$(ls -A "$1" 2>/dev/null)" ]; }

keep
