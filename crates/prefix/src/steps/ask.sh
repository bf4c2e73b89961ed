# How the steps of a build ask whoever has started the container (src/pipeline/ask.rs) before gigabytes are fetched; sourced by
# pip.sh and by the script of `--on-top`. Set by whoever sources it: build, and python, whose pip a `pip` command runs.
# CONDENSE_ASKS says that somebody wants to know. What cannot be said beforehand is judged by what pip prints while it fetches, and
# when it is installed.
asks() {
  [ "${CONDENSE_ASKS-}" ] || return
  version=$("$python" -c 'import pip; print(pip.__version__)' 2>/dev/null) || return
  # Older ones fetch everything to say what they would (pypa/pip#12603).
  case $version in [0-9].* | 1?.* | 2[0-4].* | 25.[0-2] | 25.[0-2].*) return 1 ;; esac
}

# What pip would install with these words, by metadata alone where the index has it, else by the ends of the wheels.
ask_first() {
  asks || return 0
  pip install -qq --dry-run --use-feature=fast-deps --report "$build/pip-asked" "$@" >/dev/null 2>&1 || return 0
  ask "$build/pip-asked"
}

ask() { # FILE: pip's report, or what uv prints
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
