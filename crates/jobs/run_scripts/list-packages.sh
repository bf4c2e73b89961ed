#!/bin/sh
# Lists the Python packages of the environment like `pip list`, but from the packages' metadata.
# Part of condense. Copies of this file work alone.
set -u
me=list-packages
usage='usage: list-packages [--json] [--format columns|freeze|json]

Lists the Python packages of the environment and of its virtual environment,
without starting Python.'
die() { printf '%s: %s\n' "$me" "$1" >&2; exit 1; }
refuse() { printf '%s: %s\n%s\n' "$me" "$1" "$usage" >&2; exit 2; }
format=columns
while [ $# -gt 0 ]; do
  case $1 in
    --json) format=json ;;
    --format=*) format=${1#*=} ;;
    --format) [ $# -gt 1 ] || refuse '--format needs a value'; shift; format=$1 ;;
    -h | --help) printf '%s\n' "$usage"; exit 0 ;;
    *) refuse "unknown argument $1" ;;
  esac
  shift
done
case $format in columns | freeze | json) ;; *) refuse "unknown format $format" ;; esac

# shellcheck source=crates/jobs/run_scripts/parts/python.sh
. "${0%/*}/parts/python.sh"

# Directories of packages in the order of Python's path. A virtual environment names the directory
# of its own Python in pyvenv.cfg. Debian has directories of its own.
python=$(command -v "$python")
program=$(readlink -f -- "$python") || die "cannot read the link $python"
version=${program##*/}
case $version in python3.*) ;; *) version='python3.*' ;; esac
newline='
'
prefixes=''
add_prefix() { # PREFIX
  [ "$1" != /usr ] || prefixes=$prefixes/usr/local$newline
  prefixes=$prefixes$1$newline
}
prefix=${python%/*/*}
if [ -r "$prefix/pyvenv.cfg" ]; then
  add_prefix "$prefix"
  home='' system=''
  while IFS='= ' read -r key value; do
    case $key in
      home) home=$value ;;
      include-system-site-packages) system=$value ;;
    esac
  done <"$prefix/pyvenv.cfg"
  case $system in [Tt]rue) add_prefix "${home%/*}" ;; esac
else
  [ -d "$prefix/lib" ] && [ -x "$prefix/bin/$version" ] || prefix=${program%/*/*}
  add_prefix "$prefix"
fi

# Adds the package's name and version, which are in a few lines at the top of its metadata.
add_package() { # FILE
  name='' release=''
  while IFS= read -r line; do
    line=${line%"$carriage_return"}
    case $line in
      'Name: '*) name=${line#Name: } ;;
      'Version: '*) release=${line#Version: } ;;
      '') break ;;
    esac
    [ -z "$name" ] || [ -z "$release" ] || break
  done <"$1"
  case $name,$release in
    ,* | *, | *[!A-Za-z0-9._+!,-]*) printf '%s: no name and version in %s\n' "$me" "$1" >&2 ;;
    *) packages=$packages$name' '$release$newline ;;
  esac
}
carriage_return=$(printf '\r') packages='' searched=''
IFS=$newline
for prefix in $prefixes; do
  for place in "$prefix"/lib/$version/site-packages "$prefix"/lib64/$version/site-packages \
    "$prefix"/lib/$version/dist-packages "$prefix"/lib/python3/dist-packages; do
    [ -d "$place" ] || continue
    searched=yes
    for metadata in "$place"/*.dist-info/METADATA "$place"/*.egg-info/PKG-INFO "$place"/*.egg-info; do
      [ -f "$metadata" ] && add_package "$metadata"
    done
  done
done
unset IFS
[ "$searched" ] || die "no directory of packages belongs to $python"

# Sorts by the name as indices write it, and drops packages that an earlier directory hides.
index=0
sorted=$(
  while read -r name release <&3 && read -r key _ <&4; do
    index=$((index + 1))
    printf '%s %s %s %s\n' "$key" "$index" "$name" "$release"
  done 3<<NAMES 4<<KEYS | LC_ALL=C sort -k 1,1 -k 2,2n
${packages%"$newline"}
NAMES
$(printf '%s' "$packages" | tr 'A-Z_.' 'a-z--')
KEYS
)
last='' width=7 release_width=7 packages=''
while read -r key _ name release; do
  [ "$key" != "$last" ] || continue
  last=$key packages=$packages$name' '$release$newline
  [ "${#name}" -le "$width" ] || width=${#name}
  [ "${#release}" -le "$release_width" ] || release_width=${#release}
done <<SORTED
$sorted
SORTED

row() { printf "%-${width}s %s\n" "$1" "$2"; }
line() { printf "%0${1}d" 0 | tr 0 -; }
comma=''
case $format in
  columns)
    row Package Version
    row "$(line "$width")" "$(line "$release_width")"
    ;;
  json) printf '[' ;;
esac
while read -r name release; do
  [ "$name" ] || continue
  case $format in
    columns) row "$name" "$release" ;;
    freeze) printf '%s==%s\n' "$name" "$release" ;;
    json) printf '%s{"name": "%s", "version": "%s"}' "$comma" "$name" "$release"; comma=', ' ;;
  esac
done <<PACKAGES
$packages
PACKAGES
[ "$format" != json ] || printf ']\n'
