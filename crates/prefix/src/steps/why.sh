# Prints the lines of pip's log that say which archives pip left out for the requirement in why.txt,
# and which pages it could not get. Started in the build container (crates/prefix/src/steps/why.rs).
# usage: sh why.sh ENVIRONMENT BUILD_DIR
# shellcheck shell=sh
exec 2>/dev/null </dev/null
environment=$1 build=$2
[ ! -d "$build/home" ] || export HOME="$build/home"
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE
export TMPDIR="$build/tmp" PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1
# shellcheck source=crates/prefix/src/steps/surroundings.sh
. "$build/surroundings.sh"
cd "$build" || exit 1
for file in requirements.txt options.txt; do
  [ ! -f "$file" ] || grep -E '^(-i|--index-url|--extra-index-url|-f|--find-links|--no-index|--trusted-host|--pre)([ =]|$)' "$file" >>why.txt
done
# The log names what is left out. The option would hide the output of compilers, which is why pip
# does not run with it the first time.
"$environment/bin/python" -m pip download --quiet --no-deps --only-binary :all: --retries 0 --timeout 10 --dest why-wheels --log why.log -r why.txt >/dev/null
grep -E "Skipping link: none of the wheel's tags|Could not fetch URL" why.log | tail -n 500
