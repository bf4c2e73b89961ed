# Starts the runtime with the host's MPI. The arguments are the runtime, -s, exec, and the rest of
# its command line.
name=condense view=base binds=''
nl='
'
die() { printf '%s: %s\n' "$name" "$1" >&2; exit 125; }
show() { [ ! -e "$1" ] || binds=$binds,$1:$2; }
host_mpi
[ -z "$mpi_binds" ] || mpi_library_path
binds=$binds$mpi_binds
runtime=$1
shift 3
exec "$runtime" -s exec ${binds:+-B "${binds#,}"} "$@"
