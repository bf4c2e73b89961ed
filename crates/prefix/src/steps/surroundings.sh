# What pip and the user's scripts find around them, sourced in the build container (crates/prefix/src/steps/pip.rs).
# Set by whoever sources it: environment, build. In BUILD_DIR, each done when it is there:
#   no-cache       neither pip nor uv keeps or uses a cache
#   pip-activate   what activates the environment: compilers of conda announce themselves there
#   exports        what a script of the user's has exported before
if [ "${CONDENSE_HOST_PATH-}" ]; then
  # The host's directories are seen: its compilers and modules are, too.
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
  # Certificates of the host lie where the container does not look; they were brought along.
  [ ! -f "$build/certificates/$name" ] || export "$name=$build/certificates/$name"
done
# The host's own configuration of pip: its index, its proxy. The user's files come after it, as ever.
[ ! -d "$build/config" ] || export XDG_CONFIG_DIRS="$build/config${XDG_CONFIG_DIRS:+:$XDG_CONFIG_DIRS}"
[ ! -f "$build/no-cache" ] || unset PIP_CACHE_DIR UV_CACHE_DIR
# Their own caches would fill a quota; they are used where the user has put them somewhere.
[ "${PIP_CACHE_DIR-}" ] || export PIP_NO_CACHE_DIR=1
[ "${UV_CACHE_DIR-}" ] || export UV_NO_CACHE=1
# What is installed and where is not the user's configuration's to say.
unset PIP_TARGET PIP_PREFIX PIP_ROOT PIP_SRC PIP_DRY_RUN PIP_REPORT PIP_REQUIREMENT PIP_EDITABLE
export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0
# Nobody is there to answer.
export PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_WARN_SCRIPT_LOCATION=1 PIP_DISABLE_PIP_VERSION_CHECK=1 GIT_TERMINAL_PROMPT=0
export GIT_SSH_COMMAND="${GIT_SSH_COMMAND:-ssh -oBatchMode=yes}"
# Whether the pip of PYTHON says what it installs, and what it would.
pip_reports() { # PYTHON
  "$1" -c 'import pip, re, sys; sys.exit(tuple(map(int, re.findall("[0-9]+", pip.__version__)[:2])) < (22, 2))' 2>/dev/null
}
pip_version() { "$1" -c 'import pip; print(pip.__version__)'; } # PYTHON
# The environment's own uv, the one that was on the user's PATH, or the newest of pip's index. Needs a `pip` command; sets uv.
find_uv() {
  for uv in "$environment/bin/uv" "$build/uv" "$build/uv-of-index/bin/uv"; do
    [ -x "$uv" ] && "$uv" --version >/dev/null 2>&1 && return
  done
  pip install --quiet --no-compile --target "$build/uv-of-index" uv && [ -x "$uv" ]
}
# uv reads no configuration of pip's; what a site says about indices is meant for both. Needs a `pip` command; sets no_index.
uv_asks_where_pip_does() {
  [ "${UV_DEFAULT_INDEX-}${UV_INDEX_URL-}${PIP_INDEX_URL-}" ] || PIP_INDEX_URL=$(pip config get global.index-url 2>/dev/null) || PIP_INDEX_URL=''
  [ "${UV_DEFAULT_INDEX-}${UV_INDEX_URL-}" ] || [ -z "${PIP_INDEX_URL-}" ] || export UV_DEFAULT_INDEX="$PIP_INDEX_URL"
  [ "${PIP_INDEX_URL-}" ] || unset PIP_INDEX_URL
  [ "${UV_INDEX-}" ] || [ -z "${PIP_EXTRA_INDEX_URL-}" ] || export UV_INDEX="$PIP_EXTRA_INDEX_URL"
  [ "${UV_FIND_LINKS-}" ] || [ -z "${PIP_FIND_LINKS-}" ] || UV_FIND_LINKS=$(echo "$PIP_FIND_LINKS" | tr ' ' ,) && export UV_FIND_LINKS
  [ "${UV_FIND_LINKS-}" ] || unset UV_FIND_LINKS
  # There is no variable for this.
  no_index=${PIP_NO_INDEX:+--no-index}
  [ "${SSL_CERT_FILE-}" ] || [ -z "${PIP_CERT-}" ] || export SSL_CERT_FILE="$PIP_CERT"
}
if [ -f "$build/exports" ]; then
  # shellcheck source=/dev/null
  . "$build/exports"
fi
