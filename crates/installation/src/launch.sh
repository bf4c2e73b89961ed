#!/bin/sh
# Written by condense: runs the program that has this file's name in the installation's container.
# All files in bin/ have the same text. The settings of the installation are in ../common.sh.
# `_debug_exec --explain COMMAND` prints the command line that would start COMMAND, and
# `_debug_shell --explain` the one that would start a shell.

# common.sh sets and reads some of the variables. PATH in a $(…) is set for that command only.
# shellcheck disable=SC2030,SC2031,SC2034,SC2154

die() { printf '%s: %s\n' "${name:-${0##*/}}" "$1" >&2; exit 125; }

# Prints an absolute path without `.`, `..` and `//`. The final dot protects a newline at the end of
# the path from being removed by $(…).
tidy() { CDPATH='' cd -- "${1%/*}/" && printf '%s/%s.' "${PWD%/}" "${1##*/}"; }

# 1. `me` is the absolute path by which the wrapper was called. `file` is the path of the wrapper
#    itself: links to the wrapper are resolved, but links to directories are kept, because this path
#    becomes the program's argv[0], and users know their installation by it.
case $0 in
  /*) me=$0 ;;
  */*) me=${PWD%/}/${0#./} ;;
  *) me=${PWD%/}/$0; [ -f "$me" ] || me=$(command -v -- "$0") ;; # only `sh python3`
esac
case $me in */./* | */../* | *//*) me=$(tidy "$me"); me=${me%.} ;; esac
file=$me
while [ -h "$file" ]; do
  link=$(PATH=/usr/bin:/bin:$PATH; readlink -- "$file" && echo .) || die "cannot read the link $file"
  link=${link%??}
  case $link in /*) file=$link ;; *) file=${file%/*}/$link ;; esac
done
case $file in */./* | */../* | *//*) file=$(tidy "$file"); file=${file%.} ;; esac
name=${file##*/} prefix=${file%/*/*}

# 2. The generation. common.sh is read once and names the generation, so an update that takes place
#    while this file runs does no harm.
OLD_PATH=$PATH explain='' before='' mpi_from='' mpi_binds=''
case "$name ${1-}" in
  '_debug_exec --explain' | '_debug_shell --explain') shift; explain=yes before=$(export -p) ;;
esac
[ -r "$prefix/common.sh" ] || die "$prefix/common.sh is missing: this is not a whole installation"
# shellcheck source=/dev/null
. "$prefix/common.sh"
case $prefix in
  */.condense/"$generation")
    # The wrapper was called by its path in the generation. If this generation is visible, the path
    # in the installation's directory is used instead, because users know that one.
    d=${prefix%/.condense/*}
    if [ "$(PATH=/usr/bin:/bin:$PATH; readlink -- "$d/.condense/current")" = "$generation" ]; then
      [ "$me" != "$file" ] || me=$d/bin/$name
      prefix=$d file=$d/bin/$name
    fi
    ;;
esac
generation_dir=$prefix
[ ! -h "$prefix/bin" ] || generation_dir=$prefix/.condense/$generation

# The user's own Python packages in ~/.local are hidden if the installation was built so, or if the
# variable says so for this start.
case ${CONDENSE_NO_USER_SITE:-$no_user_site} in '' | 0) ;; *) export PYTHONNOUSERSITE=1 ;; esac

# 3. Is this process in the container already? The test is a path that exists only there. Variables
#    would not do, because srun and ssh carry them out of the container.
if [ -e "$inside" ]; then
  case $name in
    _debug_shell) [ "$explain" ] || exec "${SHELL:-/bin/sh}" "$@"; die 'already inside the container' ;;
    _debug_exec) [ $# -gt 0 ] || die 'no command given'; [ "$explain" ] || exec "$@"; die 'already inside the container' ;;
  esac
  [ -x "$generation_dir/_bin/$name" ] || die "not in the image that this container was started with"
  exec "$generation_dir/_bin/$name" "$@"
fi

# Searches PATH for a runtime, but skips installations: an environment may contain an apptainer of
# its own, whose wrapper must not start itself.
find_runtime() {
  for runtime in apptainer singularity; do
    rest=$PATH:/usr/local/bin:/usr/bin:
    while [ "$rest" ]; do
      d=${rest%%:*} rest=${rest#*:}
      case $d in /*) ;; *) continue ;; esac
      [ -f "$d/$runtime" ] && [ -x "$d/$runtime" ] && [ ! -e "$d/../common.sh" ] && { runtime=$d/$runtime; return; }
    done
  done
  d=${APPTAINER_NAME-${SINGULARITY_NAME-}}
  for rest in /.singularity.d /.dockerenv /run/.containerenv; do [ "$d" ] || [ ! -e "$rest" ] || d="that has $rest"; done
  [ -z "$d" ] || die "wrapper called from another container: found neither apptainer nor singularity inside the container $d"
  die 'found neither apptainer nor singularity'
}
[ -x "$runtime" ] || find_runtime

# 4. The user's own bind mounts must come between those of the installation. They are read here,
#    because apptainer ignores SINGULARITY_BIND if APPTAINER_BIND is set, and because a runtime
#    refuses an image on a destination that has a bind mount already. `taken` lists all
#    destinations, `trees` those top-level directories that are the host's.
nl='
'
trees=: taken=: binds='' users='' behind='' late='' tmp_from=''
seen() { # PATH: checks whether the container has the host's file at this path
  t=${1#/}; case $trees in *":/${t%%/*}:"*) return 0 ;; esac
  case $1 in # The runtime shows these directories, unless the user has others in their place.
    /tmp/*) t=:/tmp: ;;
    /var/tmp/*) t=:/var/tmp: ;;
    *) return 1 ;;
  esac
  case $taken in *"$t"*) return 1 ;; *) return 0 ;; esac
}
show() { # SOURCE DESTINATION [OPTIONS]
  [ -e "$1" ] || return 0
  case $taken in *":$2:"*) return 0 ;; esac
  taken=$taken$2: binds=$binds,$1:$2${3:+:$3}
}
need() { # PATH: binds it unless it is seen; after a bind mount of the user over its top-level directory
  seen "$1" && return
  t=${1#/}
  case $taken in *":$1:"*) ;; *":/${t%%/*}:"*) behind=$behind,$1:$1 taken=$taken$1: ;; *) show "$1" "$1" ;; esac
}
add_bind() { # VARIABLE ENTRY
  case $2 in '') return 0 ;; /*) entry=$2 ;; *) entry=${here%/}/$2 ;; esac
  rest=$entry origin=''
  while :; do # The source ends at the first colon that is not escaped.
    case $rest in
      *:*) origin=$origin${rest%%:*} rest=${rest#*:}; case $origin in *\\) origin=${origin%?}: ;; *) break ;; esac ;;
      *) origin=$origin$rest rest=''; break ;;
    esac
  done
  place=${rest%%:*}; place=${place:-$origin}
  [ "$place" = / ] || place=${place%/}
  [ "$place" != /tmp ] || tmp_from=$origin
  case $place in
    "$INSTALLATION_PATH" | "$real/bin" | "$top/bin" | "$prefix/bin")
      [ -z "$stale" ] && [ "$1" != CW_EXTRA_BIND_MOUNTS ] || return 0
      die "$1 has a bind onto $place, where the installation puts its own"
      ;;
  esac
  # The variables that a runtime exports in a container list destinations only. Deep destinations
  # may be bind mounts of the site; top-level ones are bound anyway.
  if [ "$stale" ]; then case $origin in /*/*) [ -e "$origin" ] || return 0 ;; *) return 0 ;; esac; fi
  case $taken in *":$place:"*) return 0 ;; esac
  taken=$taken$place:
  case $place in "$INSTALLATION_PATH"/*) late=$late,$entry ;; *) users=$users,$entry ;; esac
}
read_binds() { # VARIABLE ITS-VALUE
  list=$2, held=''
  while [ "$list" ]; do
    part=${list%%,*} list=${list#*,}
    case $held in *\\) held=$held,$part; continue ;; esac
    part=${part#"${part%%[! ]*}"} part=${part%"${part##*[! ]}"}
    case $part in
      ro | rw | image-src=* | id=*) held=$held,$part ;;
      *) add_bind "$1" "$held"; held=$part ;;
    esac
  done
  add_bind "$1" "$held"
}

# Leaves the working directory, because the runtime would mount it last and hide bind mounts below
# it. The program starts in it again. The runtime drops a bind mount onto a path through a link, so
# all paths are physical.
here=$PWD old=${OLDPWD-} had_old=${OLDPWD+x} usable='' venv=''
[ -d "$here" ] && [ -x "$here" ] && CDPATH='' cd -P -- "$here" 2>/dev/null && usable=yes here=$PWD
CDPATH='' cd -P -- "$generation_dir" || die "cannot enter $generation_dir"
real=$PWD top=$PWD
[ "$generation_dir" = "$prefix" ] || top=${PWD%/.condense/*}
if [ "$me" != "$file" ] && [ -e "${me%/*/*}/pyvenv.cfg" ]; then
  CDPATH='' cd -P -- "${me%/*/*}" || die "cannot enter ${me%/*/*}"
  venv=$PWD
fi
cd / || die 'cannot enter /'
case $real$venv in *[:,]*) die "a container cannot show a path with ':' or ',': $real $venv" ;; esac

stale=${APPTAINER_CONTAINER-}${SINGULARITY_CONTAINER-} outer=${APPTAINER_CONTAINER-${SINGULARITY_CONTAINER-}}
if [ "$stale" ]; then
  # This process has left a container. If the container was started by a wrapper, the wrapper has
  # exported the bind mounts that the user had set before.
  if [ "${CONDENSE_USER_BIND+x}" ]; then
    stale='' SINGULARITY_BIND=$CONDENSE_USER_BIND
    unset APPTAINER_BIND
  fi
  for d in NAME COMMAND ENVIRONMENT CONTAINER APPNAME INSTANCE; do unset "APPTAINER_$d" "SINGULARITY_$d"; done
fi
for d in APPTAINER_BIND APPTAINER_BINDPATH SINGULARITY_BIND SINGULARITY_BINDPATH; do
  eval "part=\${$d-}"
  [ -z "$part" ] || read_binds "$d" "$part"
  unset "$d"
done
CONDENSE_USER_BIND=${users#,}$late stale=''
export CONDENSE_USER_BIND
# Other installations whose bin is on PATH are bound, too, with their visible generation, so that
# their wrappers find their own image in the container.
others=''
show_other() { # BIN
  CDPATH='' cd -P -- "$1" 2>/dev/null || return 0
  other=${PWD%/bin} place=''
  [ "$other" != "$real" ] && [ -f "$other/img.sqfs" ] && [ -r "$other/img.sqfs" ] || return 0
  while IFS= read -r line; do
    case $line in INSTALLATION_PATH=* | 'export INSTALLATION_PATH='*) place=${line#*=}; break ;; esac
  done <"$other/common.sh"
  case $place in # The value ends with the first word of the line.
    *\\*) return 0 ;;
    \'*) place=${place#?} place=${place%%\'*} ;;
    \"*) place=${place#?} place=${place%%\"*} ;;
    *) place=${place%% *} ;;
  esac
  case $other$place in *[:,\\\"\'\$]*) return 0 ;; esac
  case $place in "$INSTALLATION_PATH" | "$INSTALLATION_PATH"/*) return 0 ;; /?*) ;; *) return 0 ;; esac
  case $taken in *":$place:"*) return 0 ;; esac
  taken=$taken$place:
  case $other/ in
    "$place"/*) ;; # The image is mounted over the installation.
    *)
      [ ! -d "$other/self" ] || others=$others,$other/self:${other%/.condense/*}/.condense:ro,$other:$other:ro
      [ ! -d "$other/_bin" ] || others=$others,$other/_bin:$other/bin:ro
      ;;
  esac
  others=$others,$other/img.sqfs:$place:image-src=/,ro
}
if [ "$view" = host ]; then
  rest=${CW_EXTRA_BIND_MOUNTS-}
  while :; do # Users of Tykky have also joined such entries with colons.
    case $rest in *image-src=/:/*) rest=${rest%%image-src=/:/*}image-src=/,/${rest#*image-src=/:/} ;; *) break ;; esac
  done
  read_binds CW_EXTRA_BIND_MOUNTS "$rest"
  list=$OLD_PATH:
  [ -z "${CW_NO_COMPOSITION-}" ] || list=''
  while [ "$list" ]; do
    d=${list%%:*} list=${list#*:}
    case $d in /*/bin) [ ! -r "$d/../common.sh" ] || show_other "$d" ;; esac
  done
  cd / || die 'cannot enter /'
fi

# 5. The bind mounts, outermost first: the host's directories, those of the site, directories that
#    would be missing, those of the user, and those of the installation.
for d in /*; do
  case $d in /proc | /sys | /dev | /lost+found | *[:,]*) continue ;; esac
  [ "$view" = host ] || case $d in
    /bin | /boot | /etc | /lib | /lib32 | /lib64 | /libx32 | /opt | /root | /run | /sbin | /tmp | /usr | /var) continue ;;
  esac
  [ -d "$d" ] || continue
  case $taken in *":$d:"*) ;; *) trees=$trees$d: ;; esac
  show "$d" "$d"
done
site_binds
case ${CONDENSE_MPI:-$mpi_from} in
  host) [ -z "$mpi_from" ] || host_mpi ;;
  image | '') ;;
  *) die "CONDENSE_MPI is neither host nor image: $CONDENSE_MPI" ;;
esac
case $top/ in "$INSTALLATION_PATH"/*) masked=yes ;; *) masked='' ; need "$top" ;; esac
[ -z "$venv" ] || need "$venv"
case ${TMPDIR-} in *[:,]* | /tmp/* | /var/tmp/*) ;; /*/*) need "$TMPDIR" ;; esac
case $usable$here in
  yes/ | yes"$top" | yes"$top"/*) ;;
  yes/bin | yes/etc | yes/lib | yes/sbin | yes/tmp | yes/usr | yes/usr/bin | yes/usr/lib | yes/usr/sbin | yes/var | yes/var/tmp) ;;
  yes/usr/lib* | yes/lib*/*) seen "$here" || usable='' ;; # The host's libraries would break the base.
  yes*[:,]*) seen "$here" || die "a container cannot show this working directory, for ':' or ',': $here" ;;
  yes*) need "$here" ;;
esac
# A bind mount over /tmp hides the sockets of X servers, and the base's /run that of Wayland.
# The runtime cannot make a place for them in a directory that the user cannot write.
can_hold() { [ -z "$tmp_from" ] || [ -d "$tmp_from/.X11-unix" ] || { [ -d "$tmp_from" ] && [ -w "$tmp_from" ]; }; }
[ ! -d /tmp/.X11-unix ] || ! can_hold || need /tmp/.X11-unix
case ${WAYLAND_DISPLAY-} in
  '') d='' ;;
  /*) d=$WAYLAND_DISPLAY ;;
  *) d=${XDG_RUNTIME_DIR-} ;;
esac
case $d in *[:,]*) ;; /*/*) [ ! -e "$d" ] || need "$d" ;; esac
# Variables such as SSL_CERT_FILE name files of the host, which programs look for at the same paths.
files='' hidden=''
add_file() { # SOURCE DESTINATION: behind a bind mount of the user over its top-level directory
  t=${2#/}
  case $taken in
    *":/${t%%/*}:"*) behind=$behind,$1:$2:ro ;;
    *) files=$files,$1:$2:ro ;;
  esac
  taken=$taken$2:
}
show_file() { # VARIABLE PATH: binds the file read-only, unless it is seen
  case $2 in /proc/* | /sys/* | /dev/*) return 0 ;; /?*) [ -r "$2" ] || return 0 ;; *) return 0 ;; esac
  place=${2%/}
  CDPATH='' cd -P -- "${place%/*}/" 2>/dev/null || return 0
  origin=${PWD%/}/${place##*/}
  [ ! -h "$origin" ] || origin=$(PATH=/usr/bin:/bin:$PATH; readlink -f -- "$origin") || return 0
  if seen "$place"; then
    seen "$origin" && return
    place=$origin # A link that is seen leads to a file that is not.
  fi
  case $taken in *":$place:"*) return 0 ;; esac
  case $origin$place in *[:,\\\"^]* | *"$nl"*) hidden=$hidden" $1"; return 0 ;; esac
  add_file "$origin" "$place"
  [ -d "$origin" ] || return 0
  # Certificates in a directory are often links to one other directory.
  for rest in "$origin"/*; do [ ! -h "$rest" ] || break; done
  [ -h "$rest" ] || return 0
  rest=$(PATH=/usr/bin:/bin:$PATH; readlink -f -- "$rest") || return 0
  place=${rest%/*}
  case $place in "$origin" | '' | *[:,\\\"^]* | *"$nl"*) return 0 ;; esac
  case $taken in *":$place:"*) return 0 ;; esac
  seen "$place" || add_file "$place" "$place"
}
for d in $host_files; do
  eval "part=\${${d%:}-}"
  case $part in *:*) ;; /*) show_file "${d%:}" "$part"; continue ;; *) continue ;; esac
  case $d in *:) list=$part: ;; *) show_file "$d" "$part"; continue ;; esac
  while [ "$list" ]; do show_file "${d%:}" "${list%%:*}"; list=${list#*:}; done
done
# Copies of the image and of the base that `condense stage` has made on this node take their places.
# A copy gets its name when it is whole, in a directory that only the user can write into, and that
# others cannot replace: `condense stage` has looked at all directories above, of which the nearest
# one is looked at again.
image_from=$real/$SQFS_IMAGE base_from=$real/$CONTAINER_IMAGE is_copy=''
case ${CW_STAGE-} in /*)
  for d in "$CW_STAGE"/condense-stage-*; do
    { [ -d "$d" ] && [ ! -h "$d" ] && CDPATH='' cd -P -- "$d" 2>/dev/null && [ -O . ]; } || continue
    [ -k .. ] || [ -O .. ] || [ ! -w .. ] || continue
    case $PWD in *[:,]*) continue ;; esac
    [ ! -r "${image_digest:-none}/img.sqfs" ] || image_from=$PWD/$image_digest/img.sqfs is_copy=yes
    [ ! -r "${base_digest:-none}/container.sif" ] || base_from=$PWD/$base_digest/container.sif
  done
  ;;
esac
cd / || die 'cannot enter /'
if [ "$had_old" ]; then OLDPWD=$old; else unset OLDPWD; fi
[ -z "$hidden" ] || [ "${CONDENSE_WARNED-}" = "$hidden" ] || {
  printf '%s: warning: a container cannot show the files of%s, for special characters in their paths\n' "$name" "$hidden" >&2
  export CONDENSE_WARNED="$hidden"
}
own=$real/self:$INSTALLATION_PATH:ro
[ -z "$SQFS_IMAGE" ] || own=$image_from:$INSTALLATION_PATH:image-src=/,ro
# If the installation has replaced the directory of which the image was made, the image is mounted
# over the installation itself.
[ "$masked" ] || own=$real/_bin:$real/bin:ro,$own
# A running program keeps seeing this generation through the installation's links, even if another
# generation is published meanwhile.
[ "$masked" ] || [ "$generation_dir" = "$prefix" ] || [ ! -d "$real/self" ] || own=$real/self:$top/.condense:ro,$real:$real:ro,$own
binds=$files$binds$users$behind$others,$own$late$mpi_binds

# 6. argv[0], and therefore sys.executable, is a path that is valid on the host and in the
#    container: the path of the wrapper, or of the link to the wrapper in a venv on top of the
#    environment.
prog=$file
seen "$prog" || prog=$top/bin/$name
if [ "$masked" ]; then
  prog=$(PATH=/usr/bin:/bin:$PATH; readlink -- "$real/_bin/$name") || prog=$INSTALLATION_PATH/bin/$name
fi
bin_dir=${prog%/*} activate=yes
if [ "$venv" ]; then
  prog=$me
  seen "$prog" || prog=$venv/bin/${me##*/}
fi
[ -z "$venv${CW_NO_CONDA_ACTIVATE-}" ] || [ "${CW_FORCE_CONDA_ACTIVATE-}" ] || activate='' launcher=''
verb='exec'
case $name in
  _debug_shell) prog=''; if [ "$launcher" ]; then prog=/bin/sh; else verb=shell; fi ;;
  _debug_exec) prog=''; [ $# -gt 0 ] || die 'no command given' ;;
esac
set -- "$base_from" ${launcher:+"$launcher"} ${prog:+"$prog"} "$@"
[ -z "$usable" ] || set -- --pwd "$here" "$@"
binds=${binds#,}
case $binds in *[\"^]* | *"$nl"*)
  # SingularityCE parses this value as CSV and also splits it at ^. Apptainer takes it unchanged.
  case $("$runtime" --version) in
    apptainer*) ;;
    *)
      case $binds in *^*) die "SingularityCE cannot show a path with '^': $binds" ;; esac
      binds=$(PATH=/usr/bin:/bin:$PATH; printf '%s.' "$binds" | sed 's/"/""/g')
      binds=\"${binds%.}\"
      ;;
  esac
  ;;
esac
set -- -B "$binds" "$@"

# 7. The runtime passes variables on unchanged, except PATH, LD_LIBRARY_PATH and the variables that
#    the base itself sets. Those must be set with SINGULARITYENV_*, whose values the runtime
#    evaluates like text in double quotes. The user's own values of *ENV_PATH and
#    *ENV_LD_LIBRARY_PATH follow.
inside() { # NAME VALUE [USER-VALUE, which the runtime evaluates]
  case $2 in
    *[\\\$\`]*)
      set -- "$1" "$(PATH=/usr/bin:/bin:$PATH; printf '%s.' "$2" | sed 's/[\\$`]/\\&/g')" "${3-}"
      set -- "$1" "${2%.}" "$3"
      ;;
  esac
  export "SINGULARITYENV_$1=$2${3:+:$3}"
  eval "[ -z \"\${APPTAINERENV_$1+x}\" ]" || export "APPTAINERENV_$1=$2${3:+:$3}"
}
users_path=${APPTAINERENV_PATH-${SINGULARITYENV_PATH-}}
users_ld=${APPTAINERENV_LD_LIBRARY_PATH-${SINGULARITYENV_LD_LIBRARY_PATH-}}
in_PATH=$base_path in_LD_LIBRARY_PATH=''
[ "$view" != host ] || in_PATH=$PATH in_LD_LIBRARY_PATH=${LD_LIBRARY_PATH-}
[ -z "$users_path" ] || in_PATH=''
case ":$in_PATH:" in *":$bin_dir:"*) ;; *) in_PATH=$bin_dir${in_PATH:+:$in_PATH} ;; esac
[ -z "$activate" ] || replay
[ -z "$venv" ] || case ":$in_PATH:" in *":${prog%/*}:"*) ;; *) in_PATH=${prog%/*}:$in_PATH ;; esac
inside PATH "$in_PATH" "$users_path"
[ -z "$in_LD_LIBRARY_PATH" ] || inside LD_LIBRARY_PATH "$in_LD_LIBRARY_PATH" "$users_ld"
[ -z "$mpi_binds" ] || mpi_library_path
# The helpers of the runtime (squashfuse …) must not be wrappers of an environment.
PATH=${runtime%/*}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin

# In a container, the runtime may be unable to start a second one, with an error that does not
# mention the first one. So a start is tried first, and its error is explained.
if [ -d /.singularity.d ] && [ -z "$explain" ]; then
  # shellcheck disable=SC2086
  said=$("$runtime" -s exec $flags -B "$binds" "$base_from" /bin/sh -c : 2>&1 </dev/null) || case $said in
    *'"/bin/sh": '*) ;; # The base has no /bin/sh.
    *FATAL:*)
      said=${said##*FATAL:} said=${said%%"$nl"*}
      said=${said#*'[0m'}
      die "wrapper called from another container: $runtime starts none inside of ${outer:-this one}: ${said#"${said%%[! ]*}"}"
      ;;
  esac
fi

# The first task of each node of a job reads what a start needs of the image in large pieces, while
# the container starts: the parts that common.sh names, each by its first MiB and its length. The
# reader is no child of the program, has none of its streams and files, and ends with it.
birth() { # sets `born` to the time at which the program has begun, unless it has ended
  born='' line=''
  IFS= read -r line <"/proc/$$/stat" || return
  # shellcheck disable=SC2086 # The fields behind the name are words.
  set -- ${line##*)}
  case ${1-} in '' | Z | X) ;; *) born=${20-} ;; esac
}
let_go() { # closes what the caller has open: a lock, or the end of a pipe. Only bash has all numbers.
  exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
  [ -z "${BASH_VERSION-}" ] || for d in /proc/self/fd/*; do
    case ${d##*/} in [1-9][0-9]*) eval "exec ${d##*/}>&-" ;; esac
  done
}
read_ahead() { # FIRST LENGTH [FIRST LENGTH]…
  begun=$born
  while [ $# -gt 0 ]; do
    d=$1
    while [ "$d" -lt $(($1 + $2)) ]; do
      # The number of a program that has ended may become that of another one.
      birth
      [ "$born" ] && [ "$born" = "$begun" ] || return 0
      dd "if=$image_from" of=/dev/null bs=1048576 "skip=$d" count=4
      d=$((d + 4))
    done
    shift 2
  done
}
d=${CONDENSE_PREFETCH-}
case ${SLURM_LOCALID-}${PALS_LOCAL_RANKID-}${OMPI_COMM_WORLD_LOCAL_RANK-}${MPI_LOCALRANKID-}${PMI_LOCAL_RANK-} in *[!0]*) d=0 ;; esac
# An image in the memory or on the disk of its node needs no reader.
t=${TMPDIR:-/tmp} t=${t%"${t##*[!/]}"}
case $d$is_copy$image_from in yes* | /tmp/* | /dev/shm/* | "${t:-/tmp}"/*) d=0 ;; esac
t=${PMI_LOCAL_SIZE:-${MPI_LOCALNRANKS-}} # PALS has the former, hydra of MPICH and Intel MPI the latter.
[ "$d" ] || {
  [ "${SLURM_JOB_NUM_NODES:-1}" = 1 ] && [ "${PMI_SIZE:-$t}" = "${t:-${PMI_SIZE-}}" ] &&
    [ "${OMPI_COMM_WORLD_SIZE-}" = "${OMPI_COMM_WORLD_LOCAL_SIZE-}" ]
} || d=1
# shellcheck disable=SC2086 # The numbers are words without blanks.
case $d$explain in '' | 0* | *yes) ;; *) [ -z "${hot_parts-}" ] || (let_go; birth; read_ahead $hot_parts &) </dev/null >/dev/null 2>&1 ;; esac

# 8. The tasks of a job step share one container on each node, if nothing is in the way.
share_said=''
case ${CW_SHARE:-${SLURM_STEP_ID:+yes}${OMPI_COMM_WORLD_LOCAL_SIZE:+yes}${PMI_LOCAL_SIZE:+yes}${PALS_LOCAL_SIZE:+yes}${MPI_LOCALNRANKS:+yes}} in
  '' | 0) ;;
  *)
    if [ "$name" != _debug_shell ] && [ -r "$real/share/shared-container.sh" ]; then
      # shellcheck source=/dev/null
      . "$real/share/shared-container.sh"
      share_start "$real/share/shared-container.sh" "$@"
    fi
    ;;
esac

# shellcheck disable=SC2086 # The flags are words without blanks.
[ "$explain" ] || exec "$runtime" -s "$verb" $flags "$@"

# 9. --explain: prints the command line in one line, what the tasks of a job step share, and then
#    the changes of this file to the environment variables.
word() {
  case $1 in
    '' | *[!A-Za-z0-9_@%+=:,./-]*)
      rest=$1 done=''
      while :; do case $rest in *\'*) done=$done${rest%%\'*}"'\\''" rest=${rest#*\'} ;; *) break ;; esac; done
      printf " '%s'" "$done$rest"
      ;;
    *) printf ' %s' "$1" ;;
  esac
}
d=$(word "$runtime")
printf '%s' "${d# }"
# shellcheck disable=SC2086
for d in -s "$verb" $flags "$@"; do word "$d"; done
printf '\n'
[ -z "$share_said" ] || printf '# %s\n' "$share_said"
after=$(export -p)
rest=$after$nl
while [ "$rest" ]; do
  line=${rest%%"$nl"*} rest=${rest#*"$nl"}
  case $nl$before$nl in *"$nl$line$nl"*) continue ;; esac
  case $line in 'declare -x '*) line="export ${line#declare -x }" ;; esac
  printf '%s\n' "$line"
done
rest=$before$nl
while [ "$rest" ]; do
  line=${rest%%"$nl"*} rest=${rest#*"$nl"}
  case $line in 'export '* | 'declare -x '*) ;; *) continue ;; esac
  line=${line#export } line=${line#declare -x }
  case $nl$after in *"$nl"[de]*" ${line%%=*}="*) ;; *) printf 'unset %s\n' "${line%%=*}" ;; esac
done
exit 0
