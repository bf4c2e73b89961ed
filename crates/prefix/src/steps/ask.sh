# Functions with which a build step asks the program that started the container
# (crates/build/src/pip_preflight.rs) for permission before gigabytes are downloaded. Sourced by
# pip.sh and by the script of `--on-top`. The sourcing script sets build, and python, whose pip runs
# behind a `pip` command. CONDENSE_ASKS is set if that program answers. Packages that pip cannot name
# beforehand are checked by the lines that pip prints during the download, and after the
# installation.
# shellcheck shell=sh disable=SC2154
asks() {
  [ "${CONDENSE_ASKS-}" ] || return
  version=$("$python" -c 'import pip; print(pip.__version__)' 2>/dev/null) || return
  # Older versions download everything before they report it (pypa/pip#12603).
  case $version in [0-9].* | 1?.* | 2[0-4].* | 25.[0-2] | 25.[0-2].*) return 1 ;; esac
}

# Reports the packages that pip would install with these arguments. The report is made from metadata
# if the index has it, else from the ends of the wheels.
ask_first() {
  asks || return 0
  pip install -qq --dry-run --use-feature=fast-deps --report "$build/pip-asked" "$@" >/dev/null 2>&1 || return 0
  ask "$build/pip-asked"
}

ask() { # FILE: pip's report, or the output of uv
  printf '\n::condense-ask %s\n' "$1"
  asked_times=0
  while [ ! -f "$1.answer" ]; do
    asked_times=$((asked_times + 1))
    [ "$asked_times" -lt 600 ] || exit 1
    sleep 0.1 2>/dev/null || sleep 1
  done
  read -r answer <"$1.answer"
  [ "$answer" = go ] || exit 1
}
