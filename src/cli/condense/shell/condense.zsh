# Completes the words of condense under each of its names. `condense complete` knows the line.
__condense_complete() {
  local program=condense tab=$'\t' line value
  local -a found plain shown more
  [[ $words[1] == */condense ]] && program=${~words[1]}
  found=(${(f)"$(command $program complete words "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)"})
  for line in $found; do
    value=${line%%$tab*}
    if [[ $value == *[/=:] ]]; then
      more+=($value)
    else
      plain+=($value)
      if [[ $line == *$tab* ]]; then shown+=("$value  -- ${line#*$tab}"); else shown+=($value); fi
    fi
  done
  if [[ $PREFIX == '~'* ]]; then
    # The tilde stays one for the shell.
    plain=(${(q)plain}) more=(${(q)more})
    plain=(${plain/#\\\~/\~}) more=(${more/#\\\~/\~})
    (( $#plain )) && compadd -Q -a plain
    (( $#more )) && compadd -Q -S '' -a more
  else
    if [[ "$shown" == *'  -- '* ]]; then
      compadd -l -d shown -a plain
    elif (( $#plain )); then
      compadd -a plain
    fi
    (( $#more )) && compadd -S '' -a more
  fi
  (( $#found ))
}
