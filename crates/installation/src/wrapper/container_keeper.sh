#!/bin/bash
# Starts the container that the tasks of a job step share, and ends it after the last of them. See
# shared-container.sh. It holds no task up: each task has its own way if this program fails.
#
# usage: container-keeper start|end DIR FD PATH RUNTIME IMAGE FLAGS BINDS
#        container-keeper --end wait|try|held DIR

# Program of the container. It waits for a line that nobody writes, and ends when no task and no
# keeper is left that has the other end of the pipe. Programs may have closed their end, such as
# those that close all files that they inherit. So it stays as long as others are in the container.
# shellcheck disable=SC2016 # The shell of the container expands this.
holder='trap "" HUP INT QUIT TERM USR1 USR2 ALRM
echo "$$"
used=yes
while [ "$used" ]; do
    read -r line
    used=
    for process in /proc/[1-9]*; do
        [ "$process/ns/mnt" -ef "/proc/$$/ns/mnt" ] || [ "$process/root" -ef "/proc/$$/root" ] || continue
        case ${process#/proc/} in "$$" | "$PPID") continue ;; esac
        read -r comm <"$process/comm" || continue
        case $comm in *fuse*) ;; *) used=yes; break ;; esac
    done 2>/dev/null
    [ -z "$used" ] || sleep 1 || used=
done'

# Reads the parent, the session, the time of start and the name of a process.
read_process() { # PID
    local line words
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
    comm=${line#*\(} comm=${comm%\)*}
    read -r -a words <<<"${line##*\) }"
    parent=${words[1]} session=${words[3]} born=${words[19]}
}

quoted() { printf "'%s'" "${1//\'/\'\\\'\'}"; } # WORD

# Sets asked to the names that the start-up scripts of the image may read.
read_scripts() {
    local file line
    for file in "/proc/$holder_pid/root/.singularity.d/env/"*.sh; do
        [ -r "$file" ] || continue
        while IFS= read -r line || [ "$line" ]; do
            [[ ! $line =~ ^[[:space:]]*# ]] || continue
            while [[ $line =~ [A-Za-z_][A-Za-z0-9_]* ]]; do
                asked[${BASH_REMATCH[0]}]=yes line=${line#*"${BASH_REMATCH[0]}"}
            done
        done <"$file"
    done
}

# Writes shell code that makes the runtime's environment from that of a task. The runtime passes most
# variables on unchanged, so each task keeps its own: its rank, its GPUs, its cores. All tasks must
# have the same variables that decide about changes: the options of the runtime, those that it has
# changed, added or removed, and those that start-up scripts of the image may read.
write_settings() {
    local -A host inside asked
    local line name sets='' checks='' known='' absent='' kept='' clean=''
    while IFS= read -r -d '' line; do host[${line%%=*}]=${line#*=}; done <"/proc/$$/environ"
    host[PATH]=$path
    while IFS= read -r -d '' line; do inside[${line%%=*}]=${line#*=}; done <"/proc/$holder_pid/environ"
    [[ ${#inside[@]} -gt 0 ]] || return 1
    case " $flags " in *' --cleanenv '* | *' -e '*) clean=yes ;; esac
    [[ ! ${host[APPTAINER_CLEANENV]+set}${host[SINGULARITY_CLEANENV]+set} ]] || clean=yes
    read_scripts
    for name in "${!host[@]}"; do
        case $name in APPTAINER* | SINGULARITY*) known+=" $name" asked[$name]=yes ;; esac
        [[ ! $clean && ${inside[$name]+set} && ${inside[$name]} == "${host[$name]}" ]] || asked[$name]=yes
        [[ ${inside[$name]+set} || ! $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || sets+="unset $name"$'\n'
        # A variable that is removed from each environment may have any value.
        [[ ! $clean || ${inside[$name]+set} || $known == *" $name" ]] || unset "asked[$name]"
    done
    for name in "${!inside[@]}"; do
        kept+=" $name"
        case $name in PWD | OLDPWD | SHLVL | _) continue ;; esac
        [[ ${host[$name]+set} && ${host[$name]} == "${inside[$name]}" ]] && continue
        [[ $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || return 1
        asked[$name]=yes
        case $name in
        # The loader of the host would read it for the programs that enter the container.
        LD_*) sets+="unset $name; set -- $(quoted "$name=${inside[$name]}") \"\$@\""$'\n' ;;
        *) sets+="export $name=$(quoted "${inside[$name]}")"$'\n' ;;
        esac
    done
    for name in "${!asked[@]}"; do
        case $name in PWD | OLDPWD | SHLVL | _) continue ;; esac
        [[ $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || continue
        [[ ${host[$name]+set} ]] || { absent+=" $name"; continue; }
        checks+="[ \"\${$name-}\" = $(quoted "${host[$name]}") ] || share_unlike $name || return 0"$'\n'
    done
    printf '%s\n' "share_known $(quoted "$known ") $(quoted "$absent ") || return 0" "$checks$sets" >"$dir/settings" || return 1
    [[ ! $clean ]] || printf 'share_clean %s\n' "$(quoted "$kept ")" >>"$dir/settings"
    printf 'share_same=yes\n' >>"$dir/settings"
}

# Starts the container and tries to enter it. Its mounts serve all tasks, on all cores of the job.
start() {
    local wide=() binding=() tries
    ! taskset -c 0-8191 true 2>/dev/null || wide=(taskset -c 0-8191)
    [ -z "$binds" ] || binding=(-B "$binds")
    # shellcheck disable=SC2086 # The flags are words without blanks.
    (
        # This process cleans up if both other keepers are killed. It has no end of the pipe before
        # the container has ended.
        eval "exec $starting>&- {holding}>&-"
        (
            trap - HUP INT QUIT TERM USR1 USR2
            # A pipe that is opened for reading alone needs a writer at this moment.
            exec {holding}<>"$dir/lock"
            exec <"$dir/lock" >"$dir/holder" {holding}>&-
            exec "${wide[@]}" env "PATH=$path" "$runtime" -s exec $flags "${binding[@]}" "$image" \
                /bin/sh -c "$holder"
        ) &
        read_process "$!"
        printf '%s %s %s\n' "$!" "$born" "$$" >"$dir/.runtime"
        mv -- "$dir/.runtime" "$dir/runtime"
        wait "$!"
        until_ended
    ) &
    for ((tries = 0; tries < 3000; tries++)); do
        { [ -s "$dir/holder" ] && read -r holder_pid <"$dir/holder" && break; } 2>/dev/null
        ! read_runtime || [ -d "/proc/$runtime_pid" ] || return 1
        [ -d "/proc/$!" ] || return 1
        sleep 0.02
    done
    read_runtime && [[ $holder_pid =~ ^[1-9][0-9]*$ ]] && read_process "$holder_pid" && [ "$parent" = "$runtime_pid" ] || return 1
    # The user namespace of a runtime that is installed setuid is that of the host.
    [ ! "/proc/$holder_pid/ns/user" -ef /proc/self/ns/user ] && is_holder || return 1
    setpriv --no-new-privs nsenter --target "$holder_pid" --user --mount --root --preserve-credentials -- \
        /usr/bin/env /bin/sh -c : || return 1
    write_settings || return 1
    printf '%s\n' "$holder_pid" >"$dir/ready"
}

read_runtime() { { read -r runtime_pid since session_id <"$dir/runtime"; } 2>/dev/null; }

# Nobody else reads the pipe.
is_holder() { [ "$holder_pid" ] && [ "$dir/lock" -ef "/proc/$holder_pid/fd/0" ]; }

# Ends a container that no task can enter.
give_up() {
    : >"$dir/failed"
    [ "$holder_pid" ] && read_process "$holder_pid" && [ "$parent" = "$runtime_pid" ] && kill -KILL "$holder_pid"
}

# Tells whether a process is in the container that does not belong to it. A program may have closed
# the file by which it holds the directory, and may have made a namespace of its own.
is_used() {
    local process
    is_holder || return 1
    for process in $busy /proc/[1-9]*; do
        [ "$process/ns/mnt" -ef "/proc/$holder_pid/ns/mnt" ] || [ "$process/root" -ef "/proc/$holder_pid/root" ] || continue
        case ${process#/proc/} in "$holder_pid" | "$runtime_pid") continue ;; esac
        read_process "${process#/proc/}" || continue
        case $comm in *fuse*) ;; *) busy=$process; return 0 ;; esac
    done
    return 1
}

# Reads the processes of the container.
find_container() {
    local tries
    read_runtime || return 1
    # The runtime may still be at work for a keeper that was killed.
    for ((tries = 0; tries < 10; tries++)); do
        { read -r holder_pid <"$dir/holder"; } 2>/dev/null && break
        { read_process "$runtime_pid" && [ "$born" = "$since" ]; } || break
        sleep 0.3
    done
}

# Waits until no task holds the directory and none is in the container, ends the container and
# removes the directory.
end() { # wait|try|held
    local tries process busy='' unmounts=''
    # If there is no such file, none is made.
    { [ -e "$dir/lock" ] && exec 9<>"$dir/lock"; } 2>/dev/null || return 0
    while :; do
        case $1 in
        wait) flock -x 9 || return 1 ;;
        try) flock -x -n 9 || return 0 ;;
        held) ;; # The caller has the lock.
        esac
        [ "$dir/lock" -ef "/proc/$$/fd/9" ] || return 0
        { find_container && is_used; } || break
        [ "$1" = wait ] || return 0
        # Others may enter meanwhile.
        flock -u 9
        sleep 0.3
    done
    if [ "$runtime_pid" ]; then
        if is_holder && read_process "$holder_pid"; then
            # A runtime that lives unmounts the images.
            [ "$parent" != "$runtime_pid" ] || unmounts=yes
            kill -KILL "$holder_pid"
        elif read_process "$runtime_pid" && [ "$born" = "$since" ]; then
            kill -KILL "$runtime_pid"
        fi
    fi
    rm -rf -- "$dir"
    rmdir -- "${dir%/*}" 2>/dev/null
    exec 9>&-
    [ "$session_id" ] || return 0
    for ((tries = 0; tries < 30; tries++)); do
        [ "$unmounts" ] || break
        [ -d "/proc/$runtime_pid" ] || return 0
        sleep 0.1
    done
    # The processes that mount the images are in the session of the first keeper, and began within a
    # minute of the runtime. The session may have had its number again since.
    for process in /proc/[1-9]*; do
        if [ -O "$process" ] && read_process "${process#/proc/}" && [ "$session" = "$session_id" ] &&
            ((born >= since && born < since + 6000)); then
            case $comm in *fuse*) kill -KILL "${process#/proc/}" ;; esac
        fi
    done
}

# Each of the processes that do this goes on if others are killed.
until_ended() {
    while [ -e "$dir/lock" ]; do
        /bin/bash "$0" --end wait "$dir" || sleep 0.2
    done
}

trap '' HUP INT QUIT TERM USR1 USR2
PATH=/usr/bin:/bin:$PATH
holder_pid='' runtime_pid='' since='' session_id=''
if [ "$1" = --end ]; then
    dir=$3
    end "$2"
    exit
fi
verb=$1 dir=$2 starting=$3 path=$4 runtime=$5 image=$6 flags=$7 binds=$8
for file in "/proc/$$/fd/"*; do
    number=${file##*/}
    case $number in 0 | 1 | 2 | "$starting") continue ;; esac
    # bash reads this file by one of them.
    [ "$file" -ef "$0" ] || eval "exec $number>&-"
done
# As long as a keeper has this end of the pipe, the container does not end by itself.
exec {holding}<>"$dir/lock" || exit
if [ "$verb" = start ]; then
    start || give_up
    eval "exec $starting>&-"
    # Keepers of other steps may have been killed, and tasks before they had a keeper.
    for file in "${dir%/*}"/*/lock; do
        [ "$file" = "$dir/lock" ] || [ ! -e "$file" ] || /bin/bash "$0" --end try "${file%/lock}"
    done
    find "${dir%/*}" -mindepth 1 -maxdepth 1 -type d -empty -mmin +1 -delete
fi
cd /
until_ended
