# GPUs of this rank, by CONDENSE_GPUS:
#   one  the rank sees one GPU, which is device 0 to it. LOCAL_RANK is not set, because programs take
#        it for the number of a device.
#   all  the rank sees all GPUs, and LOCAL_RANK is the number of its own.
# CONDENSE_GPU_ORDER, for example 3,2,1,0, has the number of the GPU of each local rank.

# Sets item to the item at an index of a list, and count to the number of items.
pick() { # LIST INDEX
  rest=$1, item='' count=0
  while [ "$rest" ]; do
    [ "$count" != "$2" ] || item=${rest%%,*}
    rest=${rest#*,} count=$((count + 1))
  done
}
count_files() { # FILE...
  count=0
  for file in "$@"; do [ ! -e "$file" ] || count=$((count + 1)); done
}
refuse_gpu() { # WHERE
  die "local rank $LOCAL_RANK has no GPU of its own: $1; start at most one task for each GPU, and ask \
Slurm for the GPUs of the node instead of GPUs of a task"
}

# Sets `variable` to the variable of this node's GPUs, and `visible` to its value, which has numbers
# of the node's devices. Other variables of AMD's GPUs would count anew in what ROCR_VISIBLE_DEVICES
# leaves, so that only one may have such numbers.
find_gpus() {
  variable='' visible='' limited='' others=''
  if [ -e /dev/kfd ]; then
    variable=ROCR_VISIBLE_DEVICES others='HIP_VISIBLE_DEVICES CUDA_VISIBLE_DEVICES GPU_DEVICE_ORDINAL'
    count_files /dev/dri/renderD*
  elif [ -e /dev/nvidiactl ]; then
    variable=CUDA_VISIBLE_DEVICES
    count_files /dev/nvidia[0-9]*
  fi
  for name in $variable $others; do
    eval "value=\${$name-} limited=\${$name+\$name}"
    if [ "$limited" ]; then visible=$value; break; fi
  done
}

# Sets device to the number of this rank's GPU, among those that are visible.
find_device() {
  device=$LOCAL_RANK
  [ "${CONDENSE_GPU_ORDER-}" ] || return 0
  pick "$CONDENSE_GPU_ORDER" "$LOCAL_RANK"
  [ "$item" ] || refuse_gpu "CONDENSE_GPU_ORDER is $CONDENSE_GPU_ORDER"
  number CONDENSE_GPU_ORDER "$item"
  device=$item
}

share_gpus() {
  mode=${CONDENSE_GPUS:-one}
  case $mode in one | all) ;; *) die "CONDENSE_GPUS is \"$mode\": it must be one or all" ;; esac
  case $launcher in none | torchrun) return ;; esac
  find_gpus
  [ "$variable" ] || return 0
  # An empty value hides all GPUs, which leaves nothing to share.
  [ -z "$limited" ] || [ "$visible" ] || return 0
  devices=$count
  find_device
  if [ "$limited" ]; then
    pick "$visible" "$device"
    where="$limited is \"$visible\""
  else
    item=$device count=$devices
    where="the node has $devices"
  fi
  if [ "$mode" = all ]; then
    [ "$device" -lt "$count" ] || refuse_gpu "$where"
    LOCAL_RANK=$device
  else
    case $limited,$visible in
      ?*,*,* | ,*) [ "$device" -lt "$count" ] || refuse_gpu "$where" ;;
      *) item=$visible ;;
    esac
    export "$variable=$item"
    limited=$variable
    unset LOCAL_RANK
  fi
  [ "$limited" != "$variable" ] || [ -z "$others" ] || unset HIP_VISIBLE_DEVICES CUDA_VISIBLE_DEVICES GPU_DEVICE_ORDINAL
}
