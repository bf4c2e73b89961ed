#!/bin/sh
# Written by condense: runs the program that has the name of this call in the image of the module.
# All names in bin/ lead here. The settings are in settings.sh beside this file.

# settings.sh sets and reads some of the variables. PATH in a $(…) is set for that command only.
# A bind list is quoted for the runtime, and find_image is given arguments by some calls only.
# shellcheck disable=SC2030,SC2031,SC2034,SC2089,SC2090,SC2119,SC2120,SC2123,SC2154

name=${0##*/}
die() { printf '%s: %s\n' "$name" "$1" >&2; exit 125; }

# The final dot protects a newline at the end of the path from being removed by $(…).
me=$(PATH=/usr/bin:/bin:$PATH; readlink -f -- "$0" && printf .) || die "cannot read the link $0"
me=${me%?.}
share=${me%/*} root=${me%/share/condense/*}
[ -r "$share/settings.sh" ] || die "$share/settings.sh is missing: write the module again"
settings() { # NAME: the part of the settings that is read in any case, and what the part needs
  # shellcheck source=/dev/null
  . "$share/settings.sh"
}
nl='
'
binds='' taken=,
show() { # SOURCE DESTINATION
  [ -e "$1" ] || return 0
  case $taken in *",$2,"*) return 0 ;; esac
  case $1$2 in *[:,]*) return 0 ;; esac
  binds=$binds,$1:$2
}
inside() { # NAME VALUE: a variable in the container that the user has not set
  eval "[ \"\${APPTAINERENV_$1+x}\${SINGULARITYENV_$1+x}\" ]" || export "SINGULARITYENV_$1=$2"
}
settings

# 1. Commands of the host.
case $name in make-squashfs | unmake-squashfs)
  if [ -d /.singularity.d ]; then
    printf 'The %s command should not be run in the container.\n' "$name" >&2
    exit 1
  fi
  dir=$root/user-software packed=$root/user-software.squashfs
  if [ "$name" = make-squashfs ]; then
    action=pack
    if [ ! -d "$dir" ]; then
      # shellcheck disable=SC2016
      printf 'The $CONTAINERROOT/user-software subdirectory does not exist, so there is nothing to put into the SquashFS file.\nIt would be %s.\n' "$dir" >&2
      exit 2
    fi
    if [ -e "$packed" ]; then
      # shellcheck disable=SC2016
      printf '$CONTAINERROOT/user-software.squashfs already exists. Please remove the file by hand if you are sure you wish to proceed and re-run the make-squashfs command.\nIt is %s.\n' "$packed" >&2
      exit 3
    fi
  else
    action=unpack
    if [ ! -f "$packed" ]; then
      # shellcheck disable=SC2016
      printf '$CONTAINERROOT/user-software.squashfs does not exist so cannot uncompress it.\nIt would be %s.\n' "$packed" >&2
      exit 2
    fi
    if [ -e "$dir" ]; then
      # shellcheck disable=SC2016
      printf 'The $CONTAINERROOT/user-software subdirectory already exists. Please remove this directory by hand if you are sure you wish to proceed and re-run the unmake-squashfs command.\nIt is %s.\n' "$dir" >&2
      exit 3
    fi
  fi
  ;;
esac
case $name in make-squashfs | unmake-squashfs | list-packages)
  if [ "$name" = list-packages ]; then
    action=list
    if [ -d /.singularity.d ]; then
      case ${1-} in --json) set -- --format=json ;; esac
      exec python3 -m pip list "$@"
    fi
  fi
  [ -x "$condense" ] || condense=$(command -v condense) || condense=''
  [ -z "$condense" ] || exec "$condense" user-software "$action" "$root" "$@"
  [ "$name" = list-packages ] || die 'the program condense is not on PATH'
  ;;
esac

# 2. In the container of this module, the program is the one that the container has.
shell_command=''
shell_words() { # ARGUMENTS of start-shell
  case ${1-} in
    --) shift; shell_command=yes; [ $# -gt 0 ] || die 'no command is given after --' ;;
    *) set -- "$shell" "$@" ;;
  esac
  start "$@"
}
if [ -d /.singularity.d ] && [ -e "$marker" ]; then
  start() { exec "$@"; }
  rest=$PATH: PATH=''
  while [ "$rest" ]; do
    dir=${rest%%:*} rest=${rest#*:}
    [ "$dir" = "$root/bin" ] || PATH=$PATH:$dir
  done
  PATH=${PATH#:}
  export PATH
  [ "$name" != start-shell ] || shell_words "$@"
  start "$name" "$@"
fi

# 3. The image: beside the module's files, where it was, as the loaded module has it, or a copy.
find_image() {
  eval "set -- \"\$root/\$file\" \"\$image\" \"\${SIF$suffix-}\""
  settings copies "$@"
}
try() { # PATH
  [ -n "$1" ] && [ -f "$1" ] && image=$1
}
# A copy of the image that `condense stage` has made on this node takes its place. A copy gets its
# name when it is whole, in a directory that only the user can write into.
find_copy() {
  here=$PWD old=${OLDPWD-} had_old=${OLDPWD+x}
  CDPATH='' cd -- "$here" 2>/dev/null || return 0
  for each in "$CW_STAGE"/condense-stage-*; do
    { [ -d "$each" ] && [ ! -h "$each" ] && CDPATH='' cd -P -- "$each" 2>/dev/null && [ -O . ]; } || continue
    # Others could replace the directory.
    [ -k .. ] || [ -O .. ] || [ ! -w .. ] || continue
    for found in "$digest"*/container.sif; do [ ! -r "$found" ] || copy=$PWD/$found; done
  done
  CDPATH='' cd -- "$here" || die "cannot enter $here"
  if [ "$had_old" ]; then OLDPWD=$old; else unset OLDPWD; fi
}
copy=''
case ${CW_STAGE-} in /*) find_copy ;; esac
if [ "$copy" ]; then
  image=$copy
elif ! find_image; then
  printf '%s: ERROR: Cannot locate the singularity container file %s. One potential cause is that it may have been removed from the system.\n' "$name" "$file" >&2
  exit 125
fi
for each in "$runtime" apptainer singularity; do
  [ -n "$each" ] && runtime=$(command -v -- "$each") && break
done
[ -n "$runtime" ] || die 'neither apptainer nor singularity is on PATH'

# 4. Binds of the user, as the runtime would read them: in each slot, apptainer's name hides the
#    other one. /user-software and /runscripts are decided anew, since a module that is loaded may
#    be older than what lies in the directory now.
users=''
for slot in BIND BINDPATH; do
  eval "part=\${APPTAINER_$slot-}; [ -n \"\$part\" ] || part=\${SINGULARITY_$slot-}"
  [ -z "$part" ] || users=$users,$part
done
unset APPTAINER_BIND APPTAINER_BINDPATH SINGULARITY_BIND SINGULARITY_BINDPATH
rest=${users#,}, users='' ours='' tmp_from=''
while [ "$rest" ]; do
  entry=${rest%%,*} rest=${rest#*,}
  case $entry in
    '') ;;
    *:/user-software | *:/user-software:* | *:/runscripts | *:/runscripts:*) ours=yes ;;
    ro | rw | image-src=* | id=*) [ "$ours" ] || users=$users,$entry ;;
    *)
      users=$users,$entry ours=''
      destination=${entry#*:}
      taken=$taken${destination%%:*},
      [ "${destination%%:*}" != /tmp ] || tmp_from=${entry%%:*}
      ;;
  esac
done
settings binds
mpi_binds=''
case ${CONDENSE_MPI:-$mpi_from} in
  host)
    if [ "$mpi_from" ]; then
      view=base
      [ -r "$share/host-mpi.sh" ] || die "$share/host-mpi.sh is missing: write the module again"
      # shellcheck source=/dev/null
      . "$share/host-mpi.sh"
      host_mpi
    fi
    ;;
  image | '') ;;
  *) die "CONDENSE_MPI is neither host nor image: $CONDENSE_MPI" ;;
esac
case $root in *[:,]*) die "a container cannot show a path with ':' or ',': $root" ;; esac
binds=$binds$users$mpi_binds
# A bind mount over /tmp hides the sockets of X servers. The runtime shows HOME and /tmp, and not
# where display managers have cookies and the socket of Wayland.
# The runtime cannot make a place for them in a directory that the user cannot write.
if [ "$tmp_from" ] && { [ -w "$tmp_from" ] || [ -d "$tmp_from/.X11-unix" ]; }; then
  show /tmp/.X11-unix /tmp/.X11-unix
fi
case ${XAUTHORITY-} in
  "${HOME:-/nonexistent}"/*) ;;
  /tmp/*) case $taken in *,/tmp,*) show "$XAUTHORITY" "$XAUTHORITY" ;; esac ;;
  /*) show "$XAUTHORITY" "$XAUTHORITY" ;;
esac
case ${WAYLAND_DISPLAY-} in
  '') ;;
  /*) show "$WAYLAND_DISPLAY" "$WAYLAND_DISPLAY" ;;
  *) case ${XDG_RUNTIME_DIR-} in /*/*) show "$XDG_RUNTIME_DIR" "$XDG_RUNTIME_DIR" ;; esac ;;
esac
[ ! -d "$root/runscripts" ] || binds=$binds,$root/runscripts:/runscripts
packed=''
if [ -f "$root/user-software.squashfs" ]; then
  packed=yes
  binds=$binds,$root/user-software.squashfs:/user-software:image-src=/
elif [ -d "$root/user-software" ]; then
  binds=$binds,$root/user-software:/user-software
fi

# 5. pip would install into the home directory, where other images find the packages as well.
check_pip() { # ARGUMENTS of pip, or of python
  verb=''
  [ "$1" != -m ] || shift 2
  for word; do
    case $word in
      -t | --target | --target=* | --root | --root=* | --prefix | --prefix=* | --dry-run | -h | --help) return 0 ;;
      '' | -*) ;;
      *) [ -n "$verb" ] || verb=$word ;;
    esac
  done
  case $verb in install | uninstall) ;; *) return 0 ;; esac
  if [ "$packed" ]; then
    echo '/user-software is read-only: run unmake-squashfs --edit first' >&2
    exit 1
  fi
  [ ! -d "$root/user-software" ] || [ -w "$root/user-software" ] || {
    printf '/user-software is read-only: this user cannot write to %s\n' "$root/user-software" >&2
    exit 1
  }
}
case $name-${1-}-${2-} in
  pip-* | pip[0-9]*) check_pip '' "$@" ;;
  python*--m-pip) check_pip "$@" ;;
esac

# 6. Variables in the container.
settings variables
[ -z "$mpi_binds" ] || mpi_library_path
for each in APPTAINERENV SINGULARITYENV; do
  eval "part=\${${each}_PREPEND_PATH-}"
  [ "$each" = SINGULARITYENV ] || [ -n "$part" ] || continue
  case :$part: in
    *":$inside_path:"*) ;;
    *) export "${each}_PREPEND_PATH=$inside_path${part:+:$part}" ;;
  esac
done
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
start() {
  set -- ${binds:+-B "$binds"} "$image" "$@"
  # The tasks of a job step share one container on each node, if nothing is in the way.
  case ${CW_SHARE:-${SLURM_STEP_ID:+yes}${OMPI_COMM_WORLD_LOCAL_SIZE:+yes}${PMI_LOCAL_SIZE:+yes}${PALS_LOCAL_SIZE:+yes}${MPI_LOCALNRANKS:+yes}} in
    '' | 0) ;;
    *)
      if [ "$name" != start-shell ] || [ "$shell_command" ]; then
        explain=''
        # shellcheck source=/dev/null
        [ ! -r "$share/shared-container.sh" ] || { . "$share/shared-container.sh"; share_start "$share/shared-container.sh" "$@"; }
      fi
      ;;
  esac
  # shellcheck disable=SC2086 # The flags are words without blanks.
  exec "$runtime" -s exec $flags "$@"
}
[ "$name" != start-shell ] || shell_words "$@"
start "$name" "$@"
