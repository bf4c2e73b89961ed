# Prints the names of the installations in the directories of TYKKY_PATH.
__tykky_names() {
  local IFS=: root dir
  for root in ${TYKKY_PATH:-$HOME/.tykky}; do
    for dir in "$root"/*/; do
      dir=${dir%/}
      if __tykky_is_installation "$dir"; then printf '%s\n' "${dir##*/}"; fi
    done
  done
}
__tykky_complete() {
  local word=${COMP_WORDS[COMP_CWORD]}
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W 'activate deactivate' -- "$word")
  elif [ "$COMP_CWORD" -eq 2 ] && [ "${COMP_WORDS[1]}" = activate ]; then
    mapfile -t COMPREPLY < <(
      compgen -d -- "$word"
      __tykky_names | while IFS= read -r name; do case $name in "$word"*) printf '%s\n' "$name" ;; esac done
    )
  fi
}
complete -o filenames -F __tykky_complete tykky
