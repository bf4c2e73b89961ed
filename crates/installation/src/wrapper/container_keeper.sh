#!/bin/bash
# Starts the container that the tasks of a job step share, and ends it after the last of them. See
# shared-container.sh. It holds no task up: each task has its own way if this program fails.
#
# usage: container-keeper start|end DIR FD PATH RUNTIME IMAGE FLAGS BINDS NAMES
#        container-keeper --end wait|try DIR

# Program of the container. It waits for a line that nobody writes.
holder='trap "" HUP INT QUIT TERM USR1 USR2 ALRM; echo "$$"; read -r line'

# Reads the parent, the session, the time of start and the name of a process.
read_process() { # PID
    local line words
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
    comm=${line#*\(} comm=${comm%\)*}
    read -r -a words <<<"${line##*\) }"
    parent=${words[1]} session=${words[3]} born=${words[19]}
}

quoted() { printf "'%s'" "${1//\'/\'\\\'\'}"; } # WORD

# Writes shell code that makes the runtime's environment from that of a task. A task must have
# variables of the same names as the first one. A variable that the runtime has changed or removed
# must have had the same value, too.
write_settings() {
    local -A host inside
    local line name sets='' checks
    while IFS= read -r -d '' line; do host[${line%%=*}]=${line#*=}; done <"/proc/$$/environ"
    host[PATH]=$path
    checks="[ \"\$share_names\" = $(quoted "$names") ] || return 0"$'\n'
    while IFS= read -r -d '' line; do
        name=${line%%=*} inside[$name]=yes
        case $name in PWD | OLDPWD | SHLVL | _) continue ;; esac
        [[ ${host[$name]+set} && ${host[$name]} == "${line#*=}" ]] && continue
        [[ $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || return 1
        sets+="export $name=$(quoted "${line#*=}")"$'\n'
        [[ ! ${host[$name]+set} ]] || checks+="[ \"\${$name-}\" = $(quoted "${host[$name]}") ] || return 0"$'\n'
    done <"/proc/$holder_pid/environ"
    [[ ${#inside[@]} -gt 0 ]] || return 1
    for name in "${!host[@]}"; do
        [[ -z ${inside[$name]-} && $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || continue
        case $name in PWD | OLDPWD | SHLVL | _) continue ;; esac
        sets+="unset $name"$'\n'
        checks+="[ \"\${$name-}\" = $(quoted "${host[$name]}") ] || return 0"$'\n'
    done
    printf '%s%sshare_same=yes\n' "$checks" "$sets" >"$dir/settings"
}

# Starts the container and tries to enter it. Its mounts serve all tasks, on all cores of the job.
start() {
    local wide=() binding=() tries
    ! taskset -c 0-8191 true 2>/dev/null || wide=(taskset -c 0-8191)
    [ -z "$binds" ] || binding=(-B "$binds")
    mkfifo -- "$dir/wait" || return 1
    # shellcheck disable=SC2086 # The flags are words without blanks.
    (
        trap - HUP INT QUIT TERM USR1 USR2
        eval "exec $starting>&-"
        exec "${wide[@]}" env "PATH=$path" "$runtime" -s exec $flags "${binding[@]}" "$image" \
            /bin/sh -c "$holder" <>"$dir/wait" >"$dir/holder"
    ) &
    runtime_pid=$!
    for ((tries = 0; tries < 1200; tries++)); do
        holder_pid=''
        [ ! -s "$dir/holder" ] || read -r holder_pid <"$dir/holder"
        [ -z "$holder_pid" ] || break
        [ -d "/proc/$runtime_pid" ] || return 1
        sleep 0.05
    done
    [[ $holder_pid =~ ^[1-9][0-9]*$ ]] && read_process "$holder_pid" && [ "$parent" = "$runtime_pid" ] || return 1
    # A runtime that is installed setuid lets nobody else enter.
    [ ! "/proc/$holder_pid/ns/user" -ef /proc/self/ns/user ] || return 1
    setpriv --no-new-privs nsenter --target "$holder_pid" --user --mount --root --preserve-credentials -- /bin/sh -c : || return 1
    write_settings || return 1
    # The processes of the runtime are in the session of this one.
    printf '%s %s %s %s\n' "$holder_pid" "$runtime_pid" "$born" "$$" >"$dir/ready"
}

# Waits until no task holds the directory, ends the container and removes the directory.
end() { # wait|try
    local holder_pid='' runtime_pid='' since='' session_id='' found='' tries process
    exec 9<"$dir/lock" || return 0
    case $1 in
    wait) flock -x 9 || return 1 ;;
    try) flock -x -n 9 || return 0 ;;
    esac
    [ "$dir/lock" -ef "/proc/$$/fd/9" ] || return 0
    if { read -r holder_pid runtime_pid since session_id <"$dir/ready"; } 2>/dev/null; then
        read_process "$holder_pid" && [ "$born" = "$since" ] && found=yes
    elif [ -p "$dir/wait" ]; then
        # The runtime may still be at work for a keeper that was killed.
        for ((tries = 0; tries < 10; tries++)); do
            { read -r holder_pid <"$dir/holder"; } 2>/dev/null && break
            sleep 0.3
        done
        # Nobody else has this file open.
        [ "$holder_pid" ] && [ "$dir/wait" -ef "/proc/$holder_pid/fd/0" ] && read_process "$holder_pid" && {
            found=yes runtime_pid=$parent session_id=$session
        }
    fi
    [ -z "$found" ] || kill -KILL "$holder_pid"
    rm -rf -- "$dir"
    rmdir -- "${dir%/*}" 2>/dev/null
    [ "$runtime_pid" ] || return 0
    # The runtime unmounts the images. If it was killed, their processes are left.
    for ((tries = 0; tries < 30; tries++)); do
        [ "$found" ] || break
        [ -d "/proc/$runtime_pid" ] || return 0
        sleep 0.1
    done
    for process in /proc/[1-9]*; do
        if [ -O "$process" ] && read_process "${process#/proc/}" && [ "$session" = "$session_id" ]; then
            case $comm in *fuse*) kill -KILL "${process#/proc/}" ;; esac
        fi
    done
}

trap '' HUP INT QUIT TERM USR1 USR2
PATH=/usr/bin:/bin:$PATH
if [ "$1" = --end ]; then
    dir=$3
    end "$2"
    exit
fi
verb=$1 dir=$2 starting=$3 path=$4 runtime=$5 image=$6 flags=$7 binds=$8 names=$9
for file in "/proc/$$/fd/"*; do
    number=${file##*/}
    case $number in 0 | 1 | 2 | "$starting") continue ;; esac
    # bash reads this file by one of them.
    [ "$file" -ef "$0" ] || eval "exec $number>&-"
done
if [ "$verb" = start ]; then
    start || : >"$dir/failed"
    eval "exec $starting>&-"
    for file in "${dir%/*}"/*/lock; do
        [ "$file" = "$dir/lock" ] || [ ! -e "$file" ] || /bin/bash "$0" --end try "${file%/lock}"
    done
fi
cd /
# Each of the two processes goes on if the other one is killed.
while [ -e "$dir/lock" ]; do
    /bin/bash "$0" --end wait "$dir" || sleep 0.2
done
