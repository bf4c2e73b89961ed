# Environment of pip and of the user's scripts, sourced in the build container
# (crates/prefix/src/steps/surroundings.rs). The sourcing script sets environment and build. Files
# in BUILD_DIR; each has an effect only if it exists:
#   no-cache       neither pip nor uv keeps or uses a cache
#   pip-activate   activates the environment: compilers of conda set variables there
#   exports        variables that a user's script has exported before
# shellcheck shell=sh disable=SC2154
if [ "${CONDENSE_HOST_PATH-}" ]; then
  # The host's directories are visible, so its compilers and modules are too.
  PATH=$environment/bin:$CONDENSE_HOST_PATH
  [ -z "${CONDENSE_HOST_LD_LIBRARY_PATH-}" ] || export LD_LIBRARY_PATH="$CONDENSE_HOST_LD_LIBRARY_PATH"
fi
if [ -d "${environment%/envs/*}/condabin" ]; then
  PATH=$environment/bin:${environment%/envs/*}/condabin:${PATH#"$environment/bin:"}
fi
unset CONDENSE_HOST_PATH CONDENSE_HOST_LD_LIBRARY_PATH
if [ -f "$build/pip-activate" ]; then
  # shellcheck source=/dev/null
  . "$build/pip-activate"
fi
for name in PIP_CERT SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE; do
  # The certificates of the host are at paths that the container may not have, so they were copied.
  [ ! -f "$build/certificates/$name" ] || export "$name=$build/certificates/$name"
done
# The host's own configuration of pip: its index, its proxy. The user's files override it, as usual.
[ ! -d "$build/config" ] || export XDG_CONFIG_DIRS="$build/config${XDG_CONFIG_DIRS:+:$XDG_CONFIG_DIRS}"
[ ! -f "$build/no-cache" ] || unset PIP_CACHE_DIR UV_CACHE_DIR
# The default caches would fill a quota; caches are used only if the user has configured their
# place.
[ "${PIP_CACHE_DIR-}" ] || export PIP_NO_CACHE_DIR=1
[ "${UV_CACHE_DIR-}" ] || export UV_NO_CACHE=1
# The user's configuration must not change the selection of packages and their destination.
unset PIP_TARGET PIP_PREFIX PIP_ROOT PIP_SRC PIP_DRY_RUN PIP_REPORT PIP_REQUIREMENT PIP_EDITABLE PIP_PYTHON
export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0
# No user can answer a prompt.
export PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_WARN_SCRIPT_LOCATION=1 PIP_DISABLE_PIP_VERSION_CHECK=1 GIT_TERMINAL_PROMPT=0
export GIT_SSH_COMMAND="${GIT_SSH_COMMAND:-ssh -oBatchMode=yes}"
# Succeeds if the pip of PYTHON can report installed packages, and packages that it would install.
pip_reports() { # PYTHON
  "$1" -c 'import pip, re, sys; sys.exit(tuple(map(int, re.findall("[0-9]+", pip.__version__)[:2])) < (22, 2))' 2>/dev/null
}
# Makes pip 24.1 and newer print how many bytes of an archive it has, as lines for programs.
pip_counts_bytes() { # PYTHON
  [ -z "${PIP_PROGRESS_BAR-}" ] || return 0
  "$1" -c 'import pip, re, sys; sys.exit(tuple(map(int, re.findall("[0-9]+", pip.__version__)[:2])) < (24, 1))' 2>/dev/null || return 0
  export PIP_PROGRESS_BAR=raw
}
pip_version() { "$1" -c 'import pip; print(pip.__version__)'; } # PYTHON
# Finds uv: the environment's own, the one that was on the user's PATH, or the newest on pip's
# index. Needs a `pip` command; sets uv.
find_uv() {
  for uv in "$environment/bin/uv" "$build/uv" "$build/uv-of-index/bin/uv"; do
    [ -x "$uv" ] && "$uv" --version >/dev/null 2>&1 && return
  done
  pip install --quiet --no-compile --target "$build/uv-of-index" uv && [ -x "$uv" ]
}
# Passes pip's settings of indices to uv, which does not read pip's configuration: a site means them
# for both. Needs a `pip` command; sets no_index.
uv_asks_where_pip_does() {
  [ "${UV_DEFAULT_INDEX-}${UV_INDEX_URL-}${PIP_INDEX_URL-}" ] || PIP_INDEX_URL=$(pip config get global.index-url 2>/dev/null) || PIP_INDEX_URL=''
  [ "${UV_DEFAULT_INDEX-}${UV_INDEX_URL-}" ] || [ -z "${PIP_INDEX_URL-}" ] || export UV_DEFAULT_INDEX="$PIP_INDEX_URL"
  [ "${PIP_INDEX_URL-}" ] || unset PIP_INDEX_URL
  [ "${UV_INDEX-}" ] || [ -z "${PIP_EXTRA_INDEX_URL-}" ] || export UV_INDEX="$PIP_EXTRA_INDEX_URL"
  [ "${UV_FIND_LINKS-}" ] || [ -z "${PIP_FIND_LINKS-}" ] || UV_FIND_LINKS=$(echo "$PIP_FIND_LINKS" | tr ' ' ,) && export UV_FIND_LINKS
  [ "${UV_FIND_LINKS-}" ] || unset UV_FIND_LINKS
  # uv has no environment variable for this option.
  # shellcheck disable=SC2034 # read by the scripts that source this file
  no_index=${PIP_NO_INDEX:+--no-index}
  [ "${SSL_CERT_FILE-}" ] || [ -z "${PIP_CERT-}" ] || export SSL_CERT_FILE="$PIP_CERT"
}
if [ -f "$build/exports" ]; then
  # shellcheck source=/dev/null
  . "$build/exports"
fi
