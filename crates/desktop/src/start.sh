#!/bin/sh
# Written by condense, and run in the container: starts the VNC server, a window manager and noVNC.
# All of them end when standard input is closed, which happens when condense ends in any way.
# Facts for condense are lines in the file `events`.

# shellcheck disable=SC2016
dir=$1 geometry=$2 ports=$3 web_ports=$4 address=$5 extras=$6 title=$7
PATH=${PATH:-/usr/local/bin:/usr/bin:/bin}
say() { printf '%s\n' "$*" >>"$dir/events"; }
nap() { sleep 0.1 2>/dev/null || sleep 1; }
first() { # PROGRAMS: sets `found` to the first one that is there
  for each; do found=$(command -v -- "$each") && return; done
  return 1
}

# 1. The end: the guard reads until standard input is closed, then it asks this process to end.
server='' number='' web='' ending=''
trap 'ending=yes' TERM INT HUP
exec 3<&0 </dev/null
(
  trap - TERM INT HUP
  read -r _ <&3
  while kill -TERM $$ 2>/dev/null; do nap; done
) &
guard=$!
exec 3<&-
marked() { # SIGNAL: sends it to all programs that this desktop has started
  for each in /proc/[0-9]*; do
    [ -r "$each/environ" ] || continue
    [ "$each" != "/proc/$$" ] || continue
    { each_has=$(cat "$each/environ"); } 2>/dev/null
    case $each_has in *"CONDENSE_DESKTOP=$dir"*) kill -"$1" "${each#/proc/}" 2>/dev/null ;; esac
  done
}
end() { # STATUS
  trap '' TERM INT HUP
  kill "$guard" $web $server 2>/dev/null
  marked TERM
  tries=0
  while [ "$server" ] && kill -0 "$server" 2>/dev/null && [ "$tries" -lt 20 ]; do
    nap
    tries=$((tries + 1))
  done
  marked KILL
  if [ "$number" ]; then
    # A server that was killed leaves its socket, at which nobody listens then.
    while read -r each; do
      case $each in */tmp/.X11-unix/X"$number") number='' ;; esac
    done </proc/net/unix
    [ -z "$number" ] || rm -f "/tmp/.X11-unix/X$number" 2>/dev/null
  fi
  # If condense was killed, nobody else is left to remove the files.
  [ "$1" != 0 ] || [ -e "$dir/ending" ] || rm -rf "$dir"
  exit "$1"
}

# 2. The server. The display is chosen by the server itself, without a race. A port may be taken by
#    somebody else in the last moment, so there are several.
words=''
# shellcheck source=/dev/null
[ ! -r /etc/os-release ] || words=$(. /etc/os-release && printf '%s %s' "${ID-}" "${ID_LIKE-}")
say system "$words"
first Xvnc Xtigervnc /opt/TurboVNC/bin/Xvnc || { say lacks Xvnc; end 3; }
program=$found
unset WAYLAND_DISPLAY SESSION_MANAGER DBUS_SESSION_BUS_ADDRESS
export CONDENSE_DESKTOP="$dir" XAUTHORITY="$dir/Xauthority"
case $address in
  127.0.0.1) listen=-localhost ;;
  *) listen="-interface $address" ;;
esac
for port in $ports; do
  # shellcheck disable=SC2086
  "$program" -displayfd 1 -auth "$dir/Xauthority" -rfbauth "$dir/passwd" -rfbport "$port" $listen \
    -geometry "$geometry" -depth 24 -desktop "$title" -nolisten tcp -noreset \
    >"$dir/display" 2>>"$dir/server.log" &
  server=$!
  while [ ! -s "$dir/display" ] && kill -0 "$server" 2>/dev/null && [ -z "$ending" ]; do nap; done
  [ ! -s "$dir/display" ] || break
  [ -z "$ending" ] || break
done
[ -z "$ending" ] || end 0
[ -s "$dir/display" ] || { say failed; end 4; }
read -r number <"$dir/display"
say display "$number" "$port"
export DISPLAY=":$number" LIBGL_ALWAYS_SOFTWARE="${LIBGL_ALWAYS_SOFTWARE-1}"

# 3. noVNC, whose proxy is tried on one port after the other.
pages=''
for each in /usr/share/novnc /usr/share/noVNC /usr/share/webapps/novnc /usr/local/share/novnc \
  /usr/local/novnc /usr/local/noVNC /opt/novnc /opt/noVNC "${CONDA_PREFIX:-/nonexistent}/share/novnc"; do
  [ ! -e "$each/vnc.html" ] || { pages=$each; break; }
done
proxy=''
if first websockify; then
  proxy=$found
elif first python3 python && "$found" -c 'import websockify' 2>/dev/null; then
  proxy="$found -m websockify"
fi
[ "$pages" ] || say lacks noVNC
[ "$proxy" ] || say lacks websockify
if [ "$pages" ] && [ "$proxy" ]; then
  (
    for each in $web_ports; do
      say web "$each"
      # shellcheck disable=SC2086
      $proxy --web "$pages" "$address:$each" "$address:$port" >"$dir/web.log" 2>&1 &
      proxy_id=$!
      trap 'kill "$proxy_id"; exit' TERM
      wait "$proxy_id"
    done
    say web-failed
  ) &
  web=$!
fi

# 4. A window manager and a terminal, if the image has them.
case $extras in *manager*)
  if first startxfce4 mate-session startlxqt startlxde icewm-session fluxbox openbox-session \
    openbox xfwm4 marco metacity jwm fvwm3 fvwm blackbox twm mwm; then
    manager=$found
    say manager "${manager##*/}"
    case $manager in
      */start* | *-session) ! first dbus-run-session || manager="$found -- $manager" ;;
    esac
    # shellcheck disable=SC2086
    $manager >"$dir/manager.log" 2>&1 &
  fi
  ;;
esac
case $extras in *terminal*)
  if first xterm uxterm urxvt st xfce4-terminal mate-terminal lxterminal konsole; then
    "$found" >"$dir/terminal.log" 2>&1 &
  fi
  ;;
esac
say ready
[ "$ending" ] || wait "$server"
[ "$ending" ] || { say failed; end 4; }
end 0
