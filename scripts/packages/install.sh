#!/bin/sh
set -eu

usage() {
  cat <<'TEXT'
usage: sh install.sh PREFIX
       sh install.sh --uninstall PREFIX

Installs condense below the directory PREFIX: the program and its other names in PREFIX/bin, man
pages, completion files, module files, licences and documentation in PREFIX/share. No other
directory is changed, and root is not needed if PREFIX is writable.

A second run repairs or updates the installation. Files that an earlier run has not installed are
never overwritten: install.sh then names them and changes nothing. Each file is replaced with one
rename, so programs that run are not disturbed.

  --uninstall   remove the files that install.sh has installed below PREFIX, and directories that
                are empty afterwards
  -h, --help    show this help
TEXT
}
fail() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }
wrong() { printf 'install.sh: %s\n' "$*" >&2; usage >&2; exit 2; }

uninstall='' prefix=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --uninstall) uninstall=yes ;;
    --) shift; break ;;
    -*) wrong "unknown option $1" ;;
    *) [ -z "$prefix" ] || wrong 'more than one PREFIX is given'; prefix=$1 ;;
  esac
  shift
done
[ $# -le 1 ] || wrong 'more than one PREFIX is given'
[ $# -eq 0 ] || [ -z "$prefix" ] || wrong 'more than one PREFIX is given'
prefix=${prefix:-${1-}}
[ "$prefix" ] || wrong 'PREFIX is missing'
case $prefix in
  *:*) fail "PREFIX has a colon, so it cannot be on PATH: $prefix" ;;
  *'
'*) fail 'PREFIX has a line break' ;;
  /*) ;;
  *) prefix=$PWD/$prefix ;;
esac

# Names of the installed files relative to PREFIX, one per line. Names that end in a slash are
# directories that install.sh has made.
list=share/condense/installed-files
archive=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit

# Prints the files of the list.
installed() {
  [ ! -f "$prefix/$list" ] || cat -- "$prefix/$list"
}
# Checks that no name in the list leads out of PREFIX.
check_list() {
  bad=$(installed | grep -E '^/|^$|(^|/)\.\.(/|$)' | head -n 1) || true
  [ -z "$bad" ] || fail "the list of installed files is damaged: $prefix/$list: $bad"
}
exists() { [ -e "$1" ] || [ -h "$1" ]; }

remove() {
  [ -f "$prefix/$list" ] || fail "install.sh has installed nothing in $prefix"
  check_list
  names=$(installed)
  printf '%s\n' "$names" | while IFS= read -r name; do
    case $name in */ | "$list") ;; *) rm -f -- "$prefix/$name" ;; esac
  done
  # The list goes last, so that an interrupted run can be repeated.
  rm -f -- "$prefix/$list"
  # Longer names first: a directory comes before the directory that holds it.
  printf '%s\n' "$names" | grep '/$' | sort -r | while IFS= read -r name; do
    rmdir -- "$prefix/$name" 2>/dev/null || true
  done
  printf 'condense is removed from %s\n' "$prefix"
}

if [ "$uninstall" ]; then
  remove
  exit
fi

[ -f "$archive/bin/condense" ] || fail "there is no bin/condense beside install.sh in $archive"
case $archive/ in
  "${prefix%/}"/) fail "PREFIX is the unpacked archive itself: $prefix" ;;
esac
"$archive/bin/condense" --version >/dev/null 2>&1 ||
  echo 'install.sh: warning: bin/condense does not start on this machine' >&2
mkdir -p -- "$prefix"
prefix=$(CDPATH='' cd -- "$prefix" && pwd) || exit
check_list

new=$(cd -- "$archive" && find bin share ! -type d | sort)
old=$(installed)
is_in() { # NAME NAMES
  case "
$2
" in *"
$1
"*) ;; *) return 1 ;; esac
}

foreign=$(printf '%s\n%s\n' "$new" "$list" | while IFS= read -r name; do
  exists "$prefix/$name" || continue
  is_in "$name" "$old" || printf '  %s\n' "$prefix/$name"
done)
[ -z "$foreign" ] || fail "these files are not condense's own; nothing is changed:
$foreign"

# Makes the directory of a file, and prints the names of the directories that were missing.
make_directories() { # NAME
  parents=$(dirname -- "$1")
  made=''
  while [ "$parents" != . ] && [ ! -d "$prefix/$parents" ]; do
    made="$parents/
$made"
    parents=$(dirname -- "$parents")
  done
  mkdir -p -- "$prefix/$(dirname -- "$1")"
  printf '%s' "$made"
}
write_list() { # NAMES
  temporary=$prefix/share/condense/.installed-files.$$
  printf '%s\n' "$1" | grep . | sort -u >"$temporary"
  mv -f -- "$temporary" "$prefix/$list"
}

temporary=''
trap '[ -z "$temporary" ] || rm -f -- "$temporary"' EXIT
trap 'exit 130' INT TERM HUP
directories=$(printf '%s\n%s\n' "$new" "$list" | while IFS= read -r name; do
  make_directories "$name"
done)
# The list has the old and the new names before a file is copied. An interrupted run can therefore
# be repeated, and its files can be removed.
write_list "$old
$new
$list
$directories"

# Copies a file. The module files get PREFIX, so that a site can move them to its own directory.
copy() { # NAME TEMPORARY
  case $1 in
    share/modulefiles/*)
      quoted=$(printf '%s' "$prefix" | sed 's/[\\"]/\\&/g')
      case $1 in
        *.lua) line="local prefix = \"$quoted\"" ;;
        *) line="set prefix \"$(printf '%s' "$quoted" | sed 's/[][$]/\\&/g')\"" ;;
      esac
      line=$line awk '/^(local|set) prefix/ { print ENVIRON["line"]; next } { print }' \
        "$archive/$1" >"$2"
      ;;
    *) cp -- "$archive/$1" "$2" ;;
  esac
}
umask=$(umask)
while IFS= read -r name; do
  target=$prefix/$name
  temporary=$(dirname -- "$target")/.$(basename -- "$name").$$
  rm -f -- "$temporary"
  if [ -h "$archive/$name" ]; then
    link=$(readlink -- "$archive/$name")
    if [ -h "$target" ] && [ "$(readlink -- "$target")" = "$link" ]; then continue; fi
    ln -s -- "$link" "$temporary"
  else
    copy "$name" "$temporary"
    mode=644
    [ ! -x "$archive/$name" ] || mode=755
    chmod "$(printf '%o' $((0$mode & ~0$umask)))" "$temporary"
    if [ ! -h "$target" ] && cmp -s -- "$temporary" "$target" &&
      { [ "$mode" = 644 ] || [ -x "$target" ]; }; then
      rm -f -- "$temporary"
      continue
    fi
  fi
  mv -f -- "$temporary" "$target"
done <<NAMES
$new
NAMES
temporary=''

# Files of an older version that this version does not have.
printf '%s\n' "$old" | while IFS= read -r name; do
  case $name in '' | */ | "$list") continue ;; esac
  is_in "$name" "$new" || rm -f -- "$prefix/$name"
done
write_list "$new
$list
$(printf '%s\n' "$old" | grep '/$')
$directories"

cat <<TEXT
condense is installed in $prefix
To use add the bin folder to your path e.g:
export PATH="$prefix/bin:\$PATH"
or load its module:
module use "$prefix/share/modulefiles" && module load condense
TEXT
