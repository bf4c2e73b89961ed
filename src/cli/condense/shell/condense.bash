# Completes the words of condense under each of its names. `condense complete` knows the line.
__condense_complete() {
  local program=condense value is_file=''
  COMPREPLY=()
  case $1 in */condense) program=${1/#\~\//"$HOME"/} ;; esac
  # A variable in a path is left to bash.
  case $2 in *[\$\`]*)
    compopt -o bashdefault -o default 2>/dev/null
    return 0
    ;;
  esac
  while IFS=$'\t' read -r value _; do
    COMPREPLY+=("$value")
    case $value in */* | *[!A-Za-z0-9_./:=@%+,-]*) is_file=1 ;; esac
  done < <(command "$program" complete line "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null)
  # Readline quotes names of files only.
  if [ -n "$is_file" ]; then compopt -o filenames 2>/dev/null; fi
  case ${#COMPREPLY[@]}:${COMPREPLY[0]-} in 1:*[/=:]) compopt -o nospace 2>/dev/null ;; esac
  return 0
}
