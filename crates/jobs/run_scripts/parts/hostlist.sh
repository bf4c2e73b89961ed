# Reader of Slurm's lists of hosts. It starts no process. Commas or blanks are between the entries:
# `n1`, `n[1,3-5]`, `r[1-2]n[3-4]`. Numbers of a range have as many digits as its first one:
# `n[09-11]` is n09, n10, n11. The order is that of `scontrol show hostnames`: the last bracket
# changes first, then the first one, the second one and so on.

bad_list() { # PART REASON
  die "the list of hosts has a mistake at \"$1\": $2"
}

# Sets low, high and width of a range.
split_range() { # NUMBER | FIRST-LAST
  low=${1%-*} high=${1#*-} width=${#low}
  low=${low#"${low%%[!0]*}"} high=${high#"${high%%[!0]*}"}
  low=${low:-0} high=${high:-0}
}
add_range() { # NUMBER | FIRST-LAST
  case $1 in
    '') bad_list "${prefix}[" 'a number is missing in the bracket' ;;
    *[!0-9-]* | -* | *- | *-*-*) bad_list "$1" 'this is neither a number nor a range' ;;
  esac
  split_range "$1"
  [ "${#high}" -le 18 ] || bad_list "$1" 'a number has more than 18 digits'
  # The comparison of lengths protects the other one from numbers that are too long.
  if [ "${#low}" -gt "${#high}" ] || [ "$low" -gt "$high" ]; then
    bad_list "$1" 'the range ends before it begins'
  fi
  size=$((size + high - low + 1))
  [ "$size" -le 65536 ] || bad_list "$1" 'a bracket has more than 65536 hosts'
  case $wanted in
    all) ranges="$ranges $1" ;;
    first) ranges=${ranges:-${1%-*}} ;;
  esac
}
each_number() { # RANGE COMMAND...: runs the command with each number
  range=$1
  shift
  split_range "$range"
  while [ "$low" -le "$high" ]; do
    number=$low low=$((low + 1))
    while [ "${#number}" -lt "$width" ]; do number=0$number; done
    "$@" "$number"
  done
}

# Begins a bracket. The bracket before it becomes part of `starts`, whose words begin with `=`.
open_bracket() {
  if [ "$bracket" ]; then
    before=$starts starts=''
    for range in $ranges; do each_number "$range" add_starts; done
  else
    starts="=$literal"
  fi
  bracket=open prefix=$literal ranges='' literal='' size=0
}
add_starts() { # NUMBER
  for start in $before; do starts="$starts $start$1$literal"; done
}

end_entry() {
  if [ "$bracket" ] && [ "$wanted" != none ]; then
    for start in $starts; do
      for range in $ranges; do each_number "$range" found; done
    done
  elif [ "$literal" ] && [ "$wanted" != none ]; then
    start=''
    found ''
  fi
  bracket='' literal='' hosts=1
}
found() { # NUMBER
  if [ "$wanted" = all ]; then
    printf '%s\n' "${start#=}$1$literal"
  else
    first_host=${start#=}$1$literal
    wanted=none
  fi
}

# Reads the whole list, so that a mistake anywhere ends the script.
read_hostlist() { # LIST all|first|none: prints all hosts, sets first_host, or only checks the list
  wanted=$2 first_host='' bracket='' literal='' hosts=1
  set -f
  IFS=', 	
'
  for word in $1; do
    while :; do
      if [ "$bracket" = open ]; then
        add_range "${word%%]*}"
        case $word in *]*) ;; *) break ;; esac
        bracket=closed word=${word#*]} hosts=$((hosts * size))
        [ "$hosts" -le 65536 ] || bad_list "${prefix}[" 'the entry has more than 65536 hosts'
      else
        literal=$literal${word%%[][]*} word=${word#"${word%%[][]*}"}
        case $word in
          '') end_entry; break ;;
          ]*) bad_list "$literal]" 'the bracket is closed but not opened' ;;
        esac
        open_bracket
        word=${word#?}
      fi
    done
  done
  [ -z "$bracket" ] || bad_list "${prefix}[" 'the bracket is not closed'
  unset IFS
  set +f
}
