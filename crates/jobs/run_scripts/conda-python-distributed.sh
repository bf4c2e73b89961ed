#!/bin/sh
# Runs the Python of the environment as one rank of a job: conda-python-distributed ARGUMENT...
# Sets RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, NODE_RANK, GROUP_RANK, MASTER_ADDR and
# MASTER_PORT from the variables of Slurm, PALS, Open MPI or MPICH. Settings: CONDENSE_GPUS,
# CONDENSE_GPU_ORDER, CONDENSE_VERBOSE=1. Part of condense. Copies of this file work alone.
set -u
me=conda-python-distributed
die() { printf '%s: %s\n' "$me" "$1" >&2; exit 1; }

# shellcheck source=crates/jobs/run_scripts/parts/python.sh
. "${0%/*}/parts/python.sh"
# shellcheck source=crates/jobs/run_scripts/parts/hostlist.sh
. "${0%/*}/parts/hostlist.sh"
# shellcheck source=crates/jobs/run_scripts/parts/job.sh
. "${0%/*}/parts/job.sh"
# shellcheck source=crates/jobs/run_scripts/parts/ranks.sh
. "${0%/*}/parts/ranks.sh"
# shellcheck source=crates/jobs/run_scripts/parts/gpus.sh
. "${0%/*}/parts/gpus.sh"
# shellcheck source=crates/jobs/run_scripts/parts/caches.sh
. "${0%/*}/parts/caches.sh"
# shellcheck source=crates/jobs/run_scripts/parts/verbose.sh
. "${0%/*}/parts/verbose.sh"

find_job
find_rank
find_master
find_port
export MASTER_ADDR MASTER_PORT
local_rank=$LOCAL_RANK
share_gpus
make_caches
[ "${CONDENSE_VERBOSE:-0}" != 1 ] || tell
exec "$python" "$@"
