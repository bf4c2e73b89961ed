# Caches of MIOpen and AITER, and logs of RCCL. Home directories and Lustre lack locks, and /tmp is
# shared by all users of a node, so each job has directories of its own there. Every rank makes them
# and none removes them, because another rank may have begun to use them.

# Makes a directory that only the user may enter. In /tmp, somebody else's is refused.
make_private() { # DIRECTORY VARIABLE
  if [ ! -d "$1" ]; then
    (umask 077 && mkdir -p -- "$1") || die "cannot make the directory $1"
  fi
  case $1 in
    /tmp/*)
      if [ -h "$1" ] || [ ! -O "$1" ]; then
        die "the directory $1 belongs to another user: set $2 to another one"
      fi
      ;;
  esac
}

make_caches() {
  user=${USER:-$(id -u)}
  node=${NODE_RANK:-0}
  case ${NCCL_DEBUG-},${NCCL_DEBUG_FILE-} in
    [Ii][Nn][Ff][Oo], | [Tt][Rr][Aa][Cc][Ee],)
      export NCCL_DEBUG_FILE="/tmp/$user-rccl-$job-$RANK.txt"
      ;;
  esac
  [ -e /dev/kfd ] || return 0
  : "${MIOPEN_USER_DB_PATH:=/tmp/$user-miopen-$job-$node}"
  : "${MIOPEN_CUSTOM_CACHE_DIR:=$MIOPEN_USER_DB_PATH}"
  export MIOPEN_USER_DB_PATH MIOPEN_CUSTOM_CACHE_DIR
  make_private "$MIOPEN_USER_DB_PATH" MIOPEN_USER_DB_PATH
  make_private "$MIOPEN_CUSTOM_CACHE_DIR" MIOPEN_CUSTOM_CACHE_DIR
  # AITER compiles its kernels when they are used.
  python_path=$(command -v "$python")
  for aiter in "${python_path%/*/*}"/lib/python3.*/site-packages/aiter \
    "${VIRTUAL_ENV:-/}"/lib/python3.*/site-packages/aiter; do
    if [ -d "$aiter" ]; then
      : "${AITER_JIT_DIR:=/tmp/$user-aiter-$job-$local_rank}"
      : "${CC:=clang}" "${CXX:=clang++}"
      export AITER_JIT_DIR CC CXX
      make_private "$AITER_JIT_DIR" AITER_JIT_DIR
      make_private "$AITER_JIT_DIR/build" AITER_JIT_DIR
      break
    fi
  done
}
