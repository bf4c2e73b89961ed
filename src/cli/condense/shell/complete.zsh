__tykky_complete() {
  local -a names
  if (( CURRENT == 2 )); then
    compadd activate deactivate
  elif (( CURRENT == 3 )) && [[ $words[2] == activate ]]; then
    local root dir
    for root in ${(s.:.)${TYKKY_PATH:-$HOME/.tykky}}; do
      for dir in $root/*(N/); do
        __tykky_is_installation $dir && names+=(${dir:t})
      done
    done
    compadd -a names
    _files -/
  fi
}
compdef __tykky_complete tykky
