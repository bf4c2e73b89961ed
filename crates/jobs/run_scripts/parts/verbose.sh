# CONDENSE_VERBOSE=1: a line for each rank, and AMD's table of GPUs for each node.
tell() {
  affinity=unknown
  while read -r key value; do
    case $key in Cpus_allowed:) affinity=$value; break ;; esac
  done </proc/self/status
  while :; do
    case $affinity in
      *,*) affinity=${affinity%%,*}${affinity#*,} ;;
      0?*) affinity=${affinity#0} ;;
      *) break ;;
    esac
  done
  read -r host </proc/sys/kernel/hostname
  [ "$local_rank" != 0 ] || [ ! -e /dev/kfd ] || ! command -v rocm-smi >/dev/null || rocm-smi >&2
  printf '%s\n' "Rank $RANK --> pid $$'s current affinity mask: $affinity; \
GPU ${ROCR_VISIBLE_DEVICES-${CUDA_VISIBLE_DEVICES-all}}; host ${SLURMD_NODENAME:-$host}; \
local rank $local_rank of $LOCAL_WORLD_SIZE; master $MASTER_ADDR:$MASTER_PORT" >&2
}
