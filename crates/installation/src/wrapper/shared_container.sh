#!/bin/sh
# One container for all tasks of a job step on a node. The wrappers in bin/ and the commands of
# modules read this file before they start the runtime, if several tasks may share a container. It
# replaces the process by the program, in the shared container. If anything is in the way, it
# returns, and the caller starts a container of its own.
#
# The caller has set name, runtime, flags, binds and explain. Its arguments are those of `exec`:
#     [-B BINDS] [--pwd DIR] IMAGE PROGRAM [ARGUMENT …]
#
# The tasks meet in a private directory of the user in memory, whose name is a digest of all that
# the container depends on. Files there:
#     lock      a named pipe: each task has it open, with a shared lock, and its program inherits it
#     starting  the keeper has an exclusive lock until the container is up, or cannot be
#     keeper    exists as soon as a task has started the keeper
#     runtime   process that has made the container
#     ready     process in the container, or `failed` in its place
#     settings  what the runtime has made of the environment of the first task
# container-keeper, beside this file, starts the container like any other, with a program that only
# waits. A task enters the namespaces of that program and becomes its own program there. So it has
# no process of the runtime in front of it, and all signals reach it. The keeper waits until it has
# an exclusive lock of `lock`, which it gets when the last task has ended in any way or has closed its
# files, and until no process is in the container. Then it ends the container and removes the
# directory. If the keeper and its child were killed, the process in the
# container reads the end of the pipe after the last task, and a third process cleans up. What is
# left if that one was killed, too, is removed by the next keeper.

# Variables are also those of the caller. The files are on Linux, where `test` has -ef and -O.
# shellcheck disable=SC2015,SC2034,SC2154,SC3013,SC3067

# Sets share_tasks to the number of tasks that a launcher has started here, or to 1, and share_step
# to a name of the job step.
share_count() {
  if [ "${OMPI_COMM_WORLD_LOCAL_SIZE-}" ]; then
    share_tasks=$OMPI_COMM_WORLD_LOCAL_SIZE
  elif [ "${SLURM_STEP_ID-}" ] && [ "${PMI_SIZE:-${SLURM_STEP_NUM_TASKS-}}" = "${SLURM_STEP_NUM_TASKS-}" ]; then
    # Counts such as `8(x3),2` are for three nodes with eight tasks and one with two.
    share_list=${SLURM_STEP_TASKS_PER_NODE-} share_node=${SLURM_NODEID-} share_tasks=1
    case $share_node in '' | *[!0-9]* | ????????*) share_list='' ;; esac
    while [ "$share_list" ]; do
      share_part=${share_list%%,*} share_times=1
      case $share_list in *,*) share_list=${share_list#*,} ;; *) share_list='' ;; esac
      case $share_part in *'(x'*')') share_times=${share_part#*(x} share_times=${share_times%)} ;; esac
      share_tasks=${share_part%%(*}
      case $share_times in '' | *[!0-9]* | ????????*) share_tasks=1; break ;; esac
      [ "$share_node" -ge "$share_times" ] || break
      share_node=$((share_node - share_times)) share_tasks=1
    done
  else
    share_tasks=${PMI_LOCAL_SIZE:-${PALS_LOCAL_SIZE:-${MPI_LOCALNRANKS-}}}
  fi
  # Shells refuse to compare numbers of more than 18 digits.
  case $share_tasks in '' | *[!0-9]* | ????????*) share_tasks=1 ;; esac
  if [ "${SLURM_JOB_ID-}" ]; then
    share_step="step $SLURM_JOB_ID.${SLURM_STEP_ID:-batch} of Slurm"
  elif [ "${PALS_APID-}" ]; then
    share_step="application $PALS_APID of PALS"
  elif [ "${PBS_JOBID-}" ]; then
    share_step="job $PBS_JOBID of PBS"
  elif [ "${PMIX_NAMESPACE-}" ]; then
    share_step="namespace $PMIX_NAMESPACE of PMIx"
  else
    share_step='session of an unknown number'
    read -r share_line 2>/dev/null </proc/self/stat || return 0
    set -f
    # shellcheck disable=SC2086 # The words after the name of the program are numbers.
    set -- ${share_line##*) }
    set +f
    share_step="session $4"
  fi
}

# Checks the flags, and the variables that are options of the runtime: those known here mean the same
# in a shared container. Others, such as an overlay, give each container something of its own.
# Sets share_names to the names of all variables of the environment. Lines of values that look like
# names do no harm.
share_check_options() {
  for share_each in $flags; do
    case $share_each in
      --nv | --rocm | --cleanenv | -e | --no-home | --no-eval | --env=* | --no-mount=*) ;;
      *) share_why="the flag $share_each is for one container"; return 1 ;;
    esac
  done
  share_names=$(export -p | sed -n -e 's/^export //' -e 's/^declare -x //' -e 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p')
  for share_each in $share_names; do
    case $share_each in APPTAINER_* | SINGULARITY_*) ;; *) continue ;; esac
    case ${share_each#*_} in
      NAME | COMMAND | ENVIRONMENT | CONTAINER | APPNAME | INSTANCE | SHELL | BIND | BINDPATH) ;;
      CACHEDIR | TMPDIR | LOCALCACHEDIR | CONFIGDIR | PULLFOLDER | DISABLE_CACHE | DOCKER_* | MESSAGELEVEL | NOCOLOR) ;;
      NV | ROCM | CLEANENV | NO_HOME | NO_MOUNT | NO_EVAL) ;;
      *) share_why="the variable $share_each is for one container"; return 1 ;;
    esac
  done
}

# Prints everything that the container depends on. Files are compared by device and inode as well,
# since another file may have taken the name of one.
share_key() { # IMAGE
  printf '%s\n' "$share_step" "${SLURMD_NODENAME-}" "$runtime" "$flags" "$binds" "$1" "${HOME-}"
  for share_each in $share_names; do
    case $share_each in APPTAINER_* | SINGULARITY_*) eval "printf '%s\n' \"$share_each=\$$share_each\"" ;; esac
  done
  pwd -P
  share_list=$binds,
  while [ "$share_list" ]; do
    share_part=${share_list%%,*} share_list=${share_list#*,} share_part=${share_part#\"}
    case $share_part in /*) set -- "$@" "${share_part%%:*}" ;; esac
  done
  stat -L -c '%d:%i' -- "$@" 2>/dev/null
}

# Finds or makes the private directory of the user, and in it the one of this container. A directory
# of another user could name any process as the container, and so could one that others can write.
share_find_dir() { # IMAGE
  share_why='sha256sum does not work on this node'
  share_id=$(share_key "$1" | sha256sum) || return 1
  share_id=${share_id%% *}
  case $share_id in '' | *[!0-9a-f]*) return 1 ;; esac
  share_why=''
  for share_top in "/dev/shm/condense-$share_user" "${XDG_RUNTIME_DIR:+$XDG_RUNTIME_DIR/condense}"; do
    case $share_top in /*/*) ;; *) continue ;; esac
    for share_each in 1 2; do # The last task of another step may remove the directory meanwhile.
      [ -d "$share_top" ] || mkdir -m 700 -- "$share_top" 2>/dev/null || [ -d "$share_top" ] || break
      share_is_private "$share_top" || break
      share_dir=$share_top/$share_id
      [ ! -d "$share_dir" ] || return 0
      mkdir -m 700 -- "$share_dir" 2>/dev/null && return 0
    done
    if [ -e "$share_top" ] || [ -h "$share_top" ]; then
      share_why="no directory can be made in $share_top"
      share_is_private "$share_top" || share_why="$share_top is not the user's private directory"
    elif [ -d "${share_top%/*}" ] && [ -z "$share_why" ]; then
      share_why="no directory can be made in ${share_top%/*}"
    fi
  done
  share_why=${share_why:-there is neither /dev/shm nor XDG_RUNTIME_DIR}
  return 1
}
share_is_private() { # DIR
  [ -d "$1" ] && [ ! -h "$1" ] && [ -O "$1" ] && [ -w "$1" ] && [ -x "$1" ] || return 1
  case $(stat -c %a -- "$1" 2>/dev/null) in *00) ;; *) return 1 ;; esac
}

# A runtime that is installed setuid mounts with the rights of root, in no user namespace. Only the
# runtime itself enters what it has made.
share_is_setuid() {
  share_part=${runtime%/*}
  for share_each in "${share_part%/*}"/libexec/*/bin/starter-suid "${share_part%/*}"/lib/*/apptainer/bin/starter-suid; do
    [ ! -u "$share_each" ] || return 0
  done
  return 1
}

share_create() { (set -C; : >"$1") 2>/dev/null; }
share_close() { eval "exec $1>&-"; }
share_is_ready() { [ -e "$share_dir/ready" ] && [ ! -e "$share_dir/failed" ]; }
share_open() { eval "command exec $1<>\"\$2\"" 2>/dev/null; }

# Starts the keeper in a session of its own. It is no child of this process, which may become a
# program that knows only the children that it starts by itself.
share_keep() { # start|end IMAGE
  (
    setsid /bin/bash "${share_file%/*}/container-keeper" "$1" "$share_dir" "$share_wait" "$share_path" "$runtime" "$2" "$flags" "$binds" </dev/null >/dev/null 2>&1 &
  )
}

# Finds two numbers of files that are free and within the limit of open files.
share_find_numbers() {
  share_hold='' share_wait='' share_why='no file descriptor below 10 is free'
  for share_each in 9 8 7 6 5 4 3; do
    [ ! -h "/proc/$$/fd/$share_each" ] && share_open "$share_each" /dev/null || continue
    share_close "$share_each"
    [ "$share_wait" ] || { share_wait=$share_each; continue; }
    share_hold=$share_each share_why=''
    return 0
  done
  return 1
}

# Takes part in the directory. Returns 0 if there is a container. The open file keeps it. Sets
# share_again if the directory has just been removed.
share_take_part() { # IMAGE
  # The container of earlier tasks may just be ending. Its keeper removes the directory.
  share_why='the container is just ending' share_again=yes
  [ -p "$share_dir/lock" ] || mkfifo -m 600 -- "$share_dir/lock" 2>/dev/null
  # Another task may make the pipe between the first two tests.
  if [ ! -p "$share_dir/lock" ] && { [ -e "$share_dir/lock" ] || [ -h "$share_dir/lock" ]; } && [ ! -p "$share_dir/lock" ]; then
    share_why="$share_dir/lock is no pipe" share_again=''
    return 1
  fi
  if [ ! -p "$share_dir/lock" ] || ! share_open "$share_hold" "$share_dir/lock"; then
    # No empty directory stays.
    rmdir -- "$share_dir" "$share_top" 2>/dev/null
    return 1
  fi
  if ! flock -s -w 5 "$share_hold" || [ ! "$share_dir/lock" -ef "/proc/$$/fd/$share_hold" ]; then
    share_close "$share_hold"
    return 1
  fi
  # The keeper that would have removed the word of a failure was killed, if no task holds the
  # directory. The attempt at the other lock has given up the shared one.
  if [ -e "$share_dir/failed" ]; then
    if flock -x -n "$share_hold"; then
      share_remove
      share_close "$share_hold"
      return 1
    fi
    if ! flock -s -w 5 "$share_hold" || [ ! "$share_dir/lock" -ef "/proc/$$/fd/$share_hold" ]; then
      share_close "$share_hold"
      return 1
    fi
  fi
  share_again=''
  ! share_is_ready || return 0
  if [ ! -e "$share_dir/failed" ] && share_open "$share_wait" "$share_dir/starting"; then
    if flock -x -n "$share_wait" && [ ! -e "$share_dir/ready" ] && [ ! -e "$share_dir/failed" ]; then
      if share_create "$share_dir/keeper"; then share_keep start "$1"; fi
    fi
    share_close "$share_wait"
    share_open "$share_wait" "$share_dir/starting" && {
      flock -s -w 60 "$share_wait" || share_why='the container is late'
      share_close "$share_wait"
    }
    ! share_is_ready || return 0
    # A keeper that was killed has left no word. Another one removes what there is.
    [ "$share_why" = 'the container is late' ] || ! share_create "$share_dir/failed" || share_keep end "$1"
  fi
  # The file stays open, so that the directory tells the other tasks of the step.
  share_why='no container could be started or entered'
  return 1
}

# The next three are called by the settings: with the options of the runtime that the first task
# has, and variables that it does not have; with a variable that differs from that of the first task;
# with all variables that pass a runtime that removes others.
share_known() {
  for share_each in $share_names; do
    case $1 in *" $share_each "*) continue ;; esac
    case $share_each in
      APPTAINER* | SINGULARITY*) ;;
      *) case $2 in *" $share_each "*) ;; *) continue ;; esac ;;
    esac
    share_unlike "$share_each"
    return 1
  done
}
share_unlike() { share_why="$1 differs from that of the first task"; return 1; }
share_clean() {
  for share_each in $share_names; do
    case $1 in *" $share_each "*) ;; *) unset "$share_each" ;; esac
  done
}

# Removes the directory, whose lock this process has for itself, unless another one has its name.
share_remove() {
  [ ! "$share_dir/lock" -ef "/proc/$$/fd/$share_hold" ] ||
    /bin/bash "${share_file%/*}/container-keeper" --end held "$share_dir" </dev/null >/dev/null 2>&1
}

# Looks for the process in the container. All processes that would have removed the directory may
# have been killed, with the container or before it ended. If no task holds the directory, it is
# removed here, and share_again is set. Otherwise tasks of the dead container still run: no other
# task of the step tries again, and a new keeper waits for the last one.
share_find_container() { # IMAGE
  share_why='the container has ended'
  read -r share_pid <"$share_dir/ready" && [ "$share_dir/lock" -ef "/proc/$share_pid/fd/0" ] && return 0
  if flock -x -w 5 "$share_hold"; then
    share_again=yes
    share_remove
  elif [ "$share_dir/lock" -ef "/proc/$$/fd/$share_hold" ] && share_create "$share_dir/failed"; then
    share_keep end "$1"
  fi
  share_close "$share_hold"
  return 1
}

# Succeeds if the path is a directory in the container and no part of it is a link there. Seen from
# here, an absolute link would lead to the host's directory.
share_is_inside() { # DIR
  share_list=$1/ share_part=/proc/$share_pid/root
  while [ "$share_list" ]; do
    share_part=$share_part/${share_list%%/*} share_list=${share_list#*/}
    [ ! -h "$share_part" ] || return 1
  done
  [ -d "$share_part" ]
}

# Replaces this process by the program in the container.
share_enter() { # [-B BINDS] [--pwd DIR] IMAGE PROGRAM [ARGUMENT …]
  share_work=$PWD
  [ "$1" != -B ] || shift 2
  [ "$1" != --pwd ] || { share_work=$2; shift 2; }
  shift
  share_why='the working directory is behind a link in the container'
  if ! share_is_inside "$share_work"; then
    share_work=$(pwd -P)
    share_is_inside "$share_work" && [ "/proc/$share_pid/root/$share_work" -ef . ] || return 0
  fi
  # The command that sets variables for the loader takes such a name for a variable.
  share_why="there is a '=' in the name of the program"
  case $1 in *=*) return 0 ;; esac
  share_setpriv=$(command -v setpriv) share_nsenter=$(command -v nsenter)
  share_same='' PATH=$share_path
  # shellcheck source=/dev/null
  . "$share_dir/settings"
  [ "$share_same" ] || return 0
  export PWD="$share_work"
  share_say ''
  # The runtime opens what the caller has closed. The first files of the program would take the
  # numbers otherwise, and what C code writes to its standard streams would be in them.
  [ -h "/proc/$$/fd/0" ] || exec 0<>/dev/null
  [ -h "/proc/$$/fd/1" ] || exec 1<>/dev/null
  [ -h "/proc/$$/fd/2" ] || exec 2<>/dev/null
  exec "$share_setpriv" --no-new-privs "$share_nsenter" --target "$share_pid" --user --mount --root \
    "--wd=/proc/$share_pid/root/$share_work" --preserve-credentials -- /usr/bin/env "$@"
}

# Sets share_said to what happens, and prints it if the user wants to see everything.
share_say() { # REASON
  share_said="one container for the tasks of $share_step on this node"
  [ -z "$1" ] || share_said="a container of its own: $1"
  case ${CW_LOG_LEVEL-}$explain in 3) printf '%s: %s\n' "$name" "$share_said" >&2 ;; esac
}

share_start() { # FILE [-B BINDS] [--pwd DIR] IMAGE PROGRAM [ARGUMENT …]
  share_file=$1
  shift
  case ${CW_SHARE-} in '' | 1) ;; *) die "CW_SHARE is neither 0 nor 1: $CW_SHARE" ;; esac
  share_path=$PATH PATH=/usr/bin:/bin:$PATH
  share_count
  share_why='' share_user=''
  # Shells read this file by single bytes.
  [ -z "${CW_SHARE-}" ] && [ "$share_tasks" -le 1 ] ||
    while read -r share_word share_user share_part; do [ "$share_word" != Uid: ] || break; done </proc/self/status
  if [ -z "${CW_SHARE-}" ] && [ "$share_tasks" -le 1 ]; then
    share_why='this is the only task of its job step on this node'
  elif [ -d /.singularity.d ]; then
    share_why='the program starts from a container'
  elif [ "$share_user" = 0 ]; then
    share_why='root has other capabilities in a container, and nothing but the runtime can give them'
  elif share_is_setuid; then
    share_why='only the runtime can enter its containers, because it is installed setuid'
  elif [ ! -x /bin/bash ]; then
    share_why='there is no /bin/bash on this node'
  else
    share_check_options && for share_each in flock mkdir mkfifo nsenter setpriv setsid sha256sum stat; do
      command -v "$share_each" >/dev/null || share_why="there is no $share_each on this node"
    done
  fi
  if [ -z "$share_why$explain" ] && share_find_numbers; then
    share_image=$1
    case $1 in
      -B) share_image=$3; [ "$3" != --pwd ] || share_image=$5 ;;
      --pwd) share_image=$3 ;;
    esac
    for share_try in 1 2 3; do
      share_find_dir "$share_image" || break
      share_take_part "$share_image" && share_find_container "$share_image" && { share_enter "$@"; break; }
      [ "$share_again" ] || break
    done
  fi
  PATH=$share_path
  share_say "$share_why"
}
