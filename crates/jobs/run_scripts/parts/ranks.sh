# The rank of this process, and the node and the port where all ranks meet. No process is started.

# Sets launcher to the program that knows this process's rank: the innermost one. Variables of Slurm
# are in processes that mpiexec or mpirun has started in a job as well, and are the same in all of
# them. srun sets variables of PMI with its own ranks.
find_launcher() {
  if [ "${TORCHELASTIC_RUN_ID-}" ] && [ "${RANK-}" ] && [ "${LOCAL_RANK-}" ]; then
    launcher=torchrun
  elif [ "${OMPI_COMM_WORLD_RANK-}" ]; then
    launcher=openmpi
  elif in_step && [ "${SLURM_PROCID-}" ] &&
    [ "${PMI_SIZE:-${SLURM_STEP_NUM_TASKS-}}" = "${SLURM_STEP_NUM_TASKS-}" ]; then
    launcher=slurm
  elif [ "${PMI_RANK-}" ]; then
    launcher=pmi
  elif [ "${PALS_RANKID-}" ]; then
    launcher=pals
  else
    launcher=none
  fi
}

# Reads counts of tasks such as `8(x3),2`, and sets LOCAL_WORLD_SIZE to that of this node.
count_local_tasks() { # COUNTS
  counts=$1, node=$NODE_RANK
  while [ "$counts" ]; do
    part=${counts%%,*} counts=${counts#*,}
    LOCAL_WORLD_SIZE=${part%%(*} times=1
    case $part in *'(x'*')') times=${part#*(x} times=${times%)} ;; esac
    number 'SLURM_STEP_TASKS_PER_NODE' "$LOCAL_WORLD_SIZE"
    number 'SLURM_STEP_TASKS_PER_NODE' "$times"
    [ "$node" -ge "$times" ] || return 0
    node=$((node - times))
  done
  die "SLURM_STEP_TASKS_PER_NODE is \"$1\", which has no node $NODE_RANK"
}

find_rank() {
  find_launcher
  case $launcher in
    torchrun) return ;;
    slurm)
      RANK=$SLURM_PROCID LOCAL_RANK=${SLURM_LOCALID-} NODE_RANK=${SLURM_NODEID-}
      WORLD_SIZE=${SLURM_STEP_NUM_TASKS:-${SLURM_NPROCS:-${SLURM_NTASKS-}}}
      number SLURM_NODEID "$NODE_RANK"
      count_local_tasks "${SLURM_STEP_TASKS_PER_NODE:-${SLURM_TASKS_PER_NODE-}}"
      ;;
    openmpi)
      RANK=$OMPI_COMM_WORLD_RANK WORLD_SIZE=${OMPI_COMM_WORLD_SIZE-}
      LOCAL_RANK=${OMPI_COMM_WORLD_LOCAL_RANK-} LOCAL_WORLD_SIZE=${OMPI_COMM_WORLD_LOCAL_SIZE-}
      NODE_RANK=''
      ;;
    pmi | pals)
      RANK=${PMI_RANK:-${PALS_RANKID-}} WORLD_SIZE=${PMI_SIZE-}
      LOCAL_RANK=${PMI_LOCAL_RANK:-${PALS_LOCAL_RANKID:-${MPI_LOCALRANKID-}}}
      LOCAL_WORLD_SIZE=${PMI_LOCAL_SIZE:-${PALS_LOCAL_SIZE:-${MPI_LOCALNRANKS-}}}
      NODE_RANK=${PALS_NODEID-}
      ;;
    none)
      RANK=0 WORLD_SIZE=1 LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 NODE_RANK=0
      [ "${SLURM_NTASKS:-1}" = 1 ] || printf '%s: %s\n' "$me" "this is one process, although the job \
has $SLURM_NTASKS tasks: start it with srun for all of them" >&2
      ;;
  esac
  number "the rank by $launcher" "$RANK"
  number "the number of ranks by $launcher" "$WORLD_SIZE"
  number "the local rank by $launcher" "$LOCAL_RANK"
  number "the number of local ranks by $launcher" "$LOCAL_WORLD_SIZE"
  if [ "$LOCAL_WORLD_SIZE" = 0 ] || [ "$RANK" -ge "$WORLD_SIZE" ]; then
    die "$launcher gives rank $RANK of $WORLD_SIZE, with $LOCAL_WORLD_SIZE on this node"
  fi
  # MPI's launchers give no number to a node. It follows from the rank if the ranks fill the nodes
  # in order.
  if [ -z "$NODE_RANK" ] && [ $((WORLD_SIZE % LOCAL_WORLD_SIZE)) = 0 ] &&
    [ $((RANK % LOCAL_WORLD_SIZE)) = "$LOCAL_RANK" ]; then
    NODE_RANK=$((RANK / LOCAL_WORLD_SIZE))
  fi
  export RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE
  if [ "$NODE_RANK" ]; then
    GROUP_RANK=$NODE_RANK
    export NODE_RANK GROUP_RANK
  else
    unset NODE_RANK GROUP_RANK
  fi
}

# Sets MASTER_ADDR, unless the user has set it.
find_master() {
  [ -z "${MASTER_ADDR-}" ] || return 0
  case $launcher,$((WORLD_SIZE - LOCAL_WORLD_SIZE)) in
    slurm,*) read_nodes first step || die 'Slurm has not set SLURM_STEP_NODELIST' ;;
    *,0) first_host=127.0.0.1 ;;
    *) read_nodes first job || die "$launcher does not tell the node of rank 0: set MASTER_ADDR to it" ;;
  esac
  MASTER_ADDR=$first_host
}

# Sets MASTER_PORT, unless the user has set it. All ranks of a step compute the same port, and jobs
# and steps on the same node have different ones. The kernel gives these ports to nobody else.
find_port() {
  [ -z "${MASTER_PORT-}" ] || return 0
  case $launcher in
    none) MASTER_PORT=$((20000 + $$ % 10000)) ;;
    *)
      if [ "$job" != 0 ]; then
        MASTER_PORT=$((20000 + (job * 16 + step % 16) % 10000))
      else
        MASTER_PORT=29500
      fi
      ;;
  esac
}
