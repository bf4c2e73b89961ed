# Puts the host's MPI in front of the image's, on the node where the program starts. The host's own
# dynamic linker says which libraries the host's MPI needs. The result is a directory of links that
# is kept in a private directory of the user, and later starts only compare one line of `stat` with
# it. Sets mpi_binds, a list of bind mounts that starts with a comma.
mpi_place=/.condense-mpi mpi_binds='' mpi_said='' mpi_file=''
host_mpi() {
  [ -z "$mpi_left" ] || return 0
  mpi_advice='CONDENSE_MPI=image uses the MPI of the image'
  [ -z "$mpi_refused" ] || die "the host's MPI cannot be used: $mpi_refused; $mpi_advice"
  mpi_found=''
  if [ "${CONDENSE_MPI_LIBRARY-}" ]; then
    [ -f "$CONDENSE_MPI_LIBRARY" ] || die "the host's MPI is gone: there is no file $CONDENSE_MPI_LIBRARY, which CONDENSE_MPI_LIBRARY names; $mpi_advice"
    mpi_found=$CONDENSE_MPI_LIBRARY
  else
    mpi_patterns=''
    mpi_libraries
    [ "$mpi_patterns" ] || die "no place of the host's MPI is known here: CONDENSE_MPI_LIBRARY=FILE names its libmpi.so, and $mpi_advice"
    [ "$mpi_found" ] || die "the host's MPI is gone: no file has the name$mpi_patterns; $mpi_advice"
  fi
  mpi_user=${USER:-${LOGNAME:-user}}
  case $mpi_user in *[!A-Za-z0-9._-]*) mpi_user=user ;; esac
  mpi_wanted="$mpi_found:${LD_LIBRARY_PATH-}"
  for mpi_cache in "/tmp/condense-mpi-$mpi_user" "${XDG_RUNTIME_DIR:+$XDG_RUNTIME_DIR/condense-mpi}" "${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}/condense-mpi"; do
    case $mpi_cache in /*/*) ;; *) continue ;; esac
    mpi_look && { mpi_finish; return 0; }
  done
  die "no directory for the links to the host's MPI can be made, neither in /tmp nor in ~/.cache; $mpi_advice"
}
# Puts the directory in front of the library path of the user or, if there is none, of the image,
# which only the runtime knows.
mpi_library_path() {
  mpi_users=${APPTAINERENV_LD_LIBRARY_PATH-${SINGULARITYENV_LD_LIBRARY_PATH-}}
  unset APPTAINERENV_LD_LIBRARY_PATH
  export SINGULARITYENV_LD_LIBRARY_PATH="$mpi_place${mpi_users:+:$mpi_users}"
  # A runtime that expands no variables cannot keep the value of the image.
  [ "$mpi_users" ] || case ${APPTAINER_NO_EVAL:-${SINGULARITY_NO_EVAL:-}} in
    '' | 0 | false) export SINGULARITYENV_LD_LIBRARY_PATH="$mpi_place\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}" ;;
  esac
}
# Says how the host's MPI differs, in one process of a job.
mpi_finish() {
  mpi_sockets
  export CONDENSE_MPI_FILE="$mpi_file"
  [ "$mpi_said" ] || return 0
  case ${SLURM_PROCID:-${PMI_RANK:-${PALS_RANKID:-0}}} in 0) ;; *) return 0 ;; esac
  printf '%s: warning: %s\n' "$name" "$mpi_said" >&2
}
# Finds the links of this image and this library below mpi_cache, or makes them. A directory that
# does not fit any more stays, since programs that are running may use it.
mpi_look() {
  [ -d "$mpi_cache" ] || (umask 077; PATH=/usr/bin:/bin:$PATH; mkdir -p -- "$mpi_cache") 2>/dev/null || return 1
  [ ! -h "$mpi_cache" ] || return 1
  # The directory of another user could name other libraries. The one that was entered is tested,
  # since its owner can change where the name leads.
  mpi_cache=$(CDPATH='' cd -P -- "$mpi_cache" 2>/dev/null && [ -O . ] && printf '%s' "$PWD") || return 1
  case $mpi_cache in *[:,]*) return 1 ;; esac
  mpi_number_of_dir=0 mpi_made='' mpi_cleaned=''
  while :; do
    if [ "$mpi_number_of_dir" -ge 100 ]; then
      [ -z "$mpi_cleaned" ] || return 1
      (PATH=/usr/bin:/bin:$PATH; exec find "$mpi_cache" -maxdepth 1 -name "$mpi_id.*" -mtime +7 -exec rm -rf -- {} +) 2>/dev/null
      mpi_cleaned=yes mpi_number_of_dir=0
    fi
    mpi_dir=$mpi_cache/$mpi_id.$mpi_number_of_dir
    if [ -r "$mpi_dir/settings" ]; then
      . "$mpi_dir/settings"
      # A cleaner of /tmp may have removed a part.
      [ "$mpi_key" = "$mpi_wanted" ] && [ -d "$mpi_dir/1" ] && [ -h "$mpi_dir/${mpi_needs%% *}" ] &&
        eval "[ \"\$(mpi_stat $mpi_files)\" = \"\$mpi_stated\" ]" && return 0
      mpi_number_of_dir=$((mpi_number_of_dir + 1)) mpi_made=''
    else
      [ -z "$mpi_made" ] || return 1
      (umask 077; PATH=/usr/bin:/bin:$PATH:/usr/sbin; mpi_make) || exit 125
      mpi_made=yes # Another process may have been faster.
    fi
  done
}
# Replaces the process, so it is for $(…) only.
mpi_stat() { PATH=/usr/bin:/bin:$PATH; exec stat -L -c '%n %s %Y %i' -- "$@" 2>/dev/null; }
# Returns in mpi_quoted a word for the shell.
mpi_quote() {
  case $1 in *\'*) die "a path of the host's MPI has a quotation mark: $1" ;; esac
  mpi_quoted="'$1'"
}
# Returns in mpi_beside the path of the host's library of this name beside the one that was chosen.
# Debian's names of MPICH are older than those of the common ABI.
mpi_find_beside() { # NAME
  mpi_beside=${mpi_file%/*}/$1
  [ ! -f "$mpi_beside" ] || return 0
  case $1 in
    libmpi.so.* | libmpich.so.*) mpi_beside=$mpi_file ;;
    libmpifort.*) mpi_beside=${mpi_file%/*}/libmpichfort.${1#*.} ;;
    libmpichfort.*) mpi_beside=${mpi_file%/*}/libmpifort.${1#*.} ;;
    libmpicxx.*) mpi_beside=${mpi_file%/*}/libmpichcxx.${1#*.} ;;
    libmpichcxx.*) mpi_beside=${mpi_file%/*}/libmpicxx.${1#*.} ;;
  esac
  [ -f "$mpi_beside" ] || die "programs of the image need $1, which is not beside the host's $mpi_file; $mpi_advice"
}
# Compares the numbers in the names of the host's and of the image's library.
mpi_compare() {
  mpi_said=''
  mpi_of_host=$(readlink -f -- "$mpi_file") || die "cannot read the link $mpi_file"
  mpi_of_host=${mpi_of_host##*/}
  case $mpi_of_host in *.so.[0-9]*) mpi_of_host=${mpi_of_host##*.so.} ;; *) mpi_of_host=${mpi_file##*.so.} ;; esac
  case $mpi_of_host in
    [0-9]*) ;;
    *) die "the host's $mpi_file has no number in its name, so its ABI is unknown; $mpi_advice" ;;
  esac
  for mpi_need in $mpi_needs; do
    [ "${mpi_need##*.so.}" = "${mpi_of_host%%.*}" ] || die "the host's $mpi_file has the ABI ${mpi_of_host%%.*}, and the image needs $mpi_need; $mpi_advice"
  done
  case $mpi_number,$mpi_of_host in *.*,*.*) ;; *) return 0 ;; esac
  mpi_minor=${mpi_number#*.} mpi_minor=${mpi_minor%%.*}
  mpi_other=${mpi_of_host#*.} mpi_other=${mpi_other%%.*}
  case $mpi_minor$mpi_other in *[!0-9]* | '') return 0 ;; esac
  [ "$mpi_other" -ge "$mpi_minor" ] || mpi_said="the MPI of the host has the number ${mpi_of_host%%.*}.$mpi_other, which is older than ${mpi_number%%.*}.$mpi_minor of the image: $mpi_file"
}
# Appends the newest of these directories to mpi_dirs.
mpi_newest() { # DIRECTORY …
  mpi_latest=$(for mpi_each; do [ ! -d "$mpi_each" ] || printf '%s\n' "$mpi_each"; done | sort -V | tail -n 1)
  [ -z "$mpi_latest" ] || mpi_dirs=$mpi_dirs:$mpi_latest
}
# Prints the libraries that a file needs, and the versions that these need, by the host's linker.
mpi_trace() { # FILE
  for mpi_linker in /lib64/ld-linux-*.so.* /lib/ld-linux-*.so.* /lib64/ld64.so.*; do
    [ -x "$mpi_linker" ] || continue
    "$mpi_linker" --verify "$1" >/dev/null 2>&1
    case $? in 0 | 2) ;; *) continue ;; esac
    mpi_dirs=''
    mpi_search
    unset LD_PRELOAD
    LD_TRACE_LOADED_OBJECTS=1 LD_VERBOSE=1 LD_LIBRARY_PATH="${1%/*}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}$mpi_dirs" "$mpi_linker" "$1" 2>/dev/null
    return 0
  done
  die "the host's $1 is no library for the dynamic linker of this host; $mpi_advice"
}
# Prints lines of the closure: `bind NAME FILE`, `missing NAME`, `glibc VERSION FILE`.
mpi_closure() {
  awk -v have="$mpi_versions" -v view="$view" '
    function newer(a, b, x, y, n, m, i) {
      n = split(a, x, "."); m = split(b, y, ".")
      for (i = 1; i <= n || i <= m; i++) if (x[i] + 0 != y[i] + 0) return x[i] + 0 > y[i] + 0
      return 0
    }
    function is_c_library(name) {
      return name ~ /^(libc|libm|libmvec|libpthread|libdl|librt|libresolv|libutil|libanl|libnsl|libBrokenLocale|libthread_db|libnss_[a-z]+)\.so\.[0-9]+$/ || name ~ /^(ld-linux|ld64|linux-vdso|linux-gate)/
    }
    BEGIN {
      n = split(have, each, " ")
      for (i = 1; i <= n; i++) { match(each[i], /_[0-9]/); image[substr(each[i], 1, RSTART - 1)] = substr(each[i], RSTART + 1) }
    }
    /Version information:$/ { in_versions = 1; next }
    /^mpi-file / { in_versions = 0; next }
    !in_versions && / => not found$/ { sub(/^\t/, ""); print "missing " substr($0, 1, index($0, " =>") - 1); next }
    !in_versions && / => \// {
      sub(/^\t/, ""); sub(/ \(0x[0-9a-f]+\)$/, "")
      at = index($0, " => "); name = substr($0, 1, at - 1)
      if (!(name in file)) { file[name] = substr($0, at + 4); order[++count] = name }
      next
    }
    in_versions && /^\t[^\t].*:$/ {
      by = substr($0, 2, length($0) - 2); name = by; sub(/.*\//, "", name)
      if (is_c_library(name)) by = ""
      next
    }
    in_versions && by != "" && /^\t\t/ {
      if (!match($2, /_[0-9][0-9.]*\)$/)) next
      family = substr($2, 2, RSTART - 2); version = substr($2, RSTART + 1, RLENGTH - 2)
      if (!(family in needed) || newer(version, needed[family])) { needed[family] = version; needed_by[family] = by }
      of[$1] = of[$1] " " family
    }
    END {
      if (view != "host" && ("GLIBC" in image) && ("GLIBC" in needed) && newer(needed["GLIBC"], image["GLIBC"]))
        print "glibc " needed["GLIBC"] " " image["GLIBC"] " " needed_by["GLIBC"]
      for (i = 1; i <= count; i++) {
        name = order[i]
        if (is_c_library(name)) continue
        # The image keeps its own library of C++ and the like if it is new enough.
        n = split(of[name], each, " "); known = n; old = 0
        for (j = 1; j <= n; j++) {
          if (!(each[j] in image)) known = 0
          else if (newer(needed[each[j]], image[each[j]])) old = 1
        }
        if (!known || old) print "bind " name " " file[name]
      }
    }'
}
# Makes the directory mpi_dir. It appears complete, by one rename.
mpi_make() {
  mpi_file=$(printf '%s\n' "$mpi_found" | sort -V | tail -n 1)
  mpi_compare
  mpi_lines='' mpi_traced=''
  for mpi_need in $mpi_needs; do
    mpi_find_beside "$mpi_need"
    mpi_lines=$mpi_lines"bind $mpi_need $mpi_beside$nl"
    mpi_one=$(mpi_trace "$mpi_beside") || exit 125
    mpi_traced=$mpi_traced"mpi-file $nl$mpi_one$nl"
  done
  mpi_lines=$mpi_lines$(printf '%s' "$mpi_traced" | mpi_closure) || die 'awk of this host fails'
  mpi_temporary=$mpi_dir.$$
  mkdir -- "$mpi_temporary" 2>/dev/null || return 0
  trap 'rm -rf -- "$mpi_temporary"' EXIT
  mpi_dirs=$nl mpi_count=0 mpi_below='' mpi_names=' ' mpi_files="'/etc/ld.so.cache'"
  while IFS=' ' read -r mpi_verb mpi_library mpi_path; do
    case $mpi_verb in
      '') continue ;;
      missing) die "the host's $mpi_file needs $mpi_library, which the host does not have; $mpi_advice" ;;
      glibc) die "the host's ${mpi_path#* } needs glibc $mpi_library, and the image has ${mpi_path%% *}; $mpi_advice" ;;
    esac
    case $mpi_names in *" $mpi_library "*) continue ;; esac
    mpi_names=$mpi_names$mpi_library' '
    mpi_real=$(readlink -f -- "$mpi_path") || die "cannot read the link $mpi_path"
    case $mpi_real in *[:,]*) die "a container cannot show a path with ':' or ',': $mpi_real; $mpi_advice" ;; esac
    mpi_quote "$mpi_path"
    mpi_files="$mpi_files $mpi_quoted"
    case $mpi_dirs in
      *"$nl${mpi_real%/*}="*) mpi_at=${mpi_dirs##*"$nl${mpi_real%/*}="} mpi_at=${mpi_at%%"$nl"*} ;;
      *)
        mpi_count=$((mpi_count + 1)) mpi_at=$mpi_count
        mpi_dirs=$mpi_dirs${mpi_real%/*}=$mpi_at$nl
        mkdir -- "$mpi_temporary/$mpi_at" 2>/dev/null || return 0
        mpi_below=$mpi_below,${mpi_real%/*}:$mpi_place/$mpi_at:ro
        ;;
    esac
    ln -s -- "$mpi_at/${mpi_real##*/}" "$mpi_temporary/$mpi_library" 2>/dev/null || return 0
  done <<EOF
$mpi_lines
EOF
  [ "$mpi_count" -gt 0 ] || exit 125
  eval "mpi_stated=\$(mpi_stat $mpi_files)"
  mpi_below=,$mpi_dir:$mpi_place:ro$mpi_below
  {
    for mpi_one in mpi_file mpi_said mpi_wanted mpi_stated mpi_below; do
      eval "mpi_quote \"\$$mpi_one\""
      case $mpi_one in mpi_wanted) mpi_one=mpi_key ;; mpi_below) mpi_one=mpi_binds ;; esac
      printf '%s=%s\n' "$mpi_one" "$mpi_quoted"
    done
    printf 'mpi_files="%s"\n' "$mpi_files"
  } 2>/dev/null >"$mpi_temporary/settings" || return 0
  mv -T -- "$mpi_temporary" "$mpi_dir" 2>/dev/null || :
}
