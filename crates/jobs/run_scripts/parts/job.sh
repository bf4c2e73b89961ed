# The step and the job that this process belongs to. Slurm sets variables of a rank in batch scripts
# and in interactive shells as well. They are no step of many tasks: a batch script has no
# SLURM_STEP_ID, and the other ones have a number at the end of the range.

number() { # NAME VALUE: ends the script if the value is no number
  case $2 in '' | *[!0-9]*) die "$1 is \"$2\", which is not a number" ;; esac
  [ "${#2}" -le 18 ] || die "$1 is \"$2\", which is too long"
}

in_step() {
  [ "${SLURM_STEP_ID-}" ] || return 1
  number SLURM_STEP_ID "$SLURM_STEP_ID"
  [ "$SLURM_STEP_ID" -lt 4294967000 ]
}

# Sets job and step to the numbers of this job and of what a launcher has started in it, or to 0.
# Open MPI and PALS have such numbers, too.
find_job() {
  job=${SLURM_JOB_ID:-${SLURM_JOBID-}} step=${SLURM_STEP_ID:-0}
  if [ -z "$job" ] && [ "${PBS_JOBID-}" ]; then
    job=${PBS_JOBID%%[!0-9]*}
    case ${PALS_APID-} in [0-9a-f]*) step=$((0x${PALS_APID%"${PALS_APID#?}"})) ;; esac
  fi
  job=${job:-${OMPI_MCA_ess_base_jobid:-0}}
  number 'the number of the job' "$job"
  number 'the number of the step' "$step"
}

# Reads the first line of a file of hosts.
first_line() { # VARIABLE FILE ADVICE
  first_host=''
  if [ ! -f "$2" ] || [ ! -r "$2" ]; then
    die "$1 names $2, which cannot be read on this node: $3"
  fi
  while read -r first_host _; do
    case $first_host in '' | '#'*) ;; *) return ;; esac
  done <"$2"
  [ "$first_host" ] || die "$1 names $2, which has no host: $3"
}

# Sets first_host to the node of rank 0, or prints all nodes. Fails outside jobs.
read_nodes() { # first|all step|job
  list=''
  if [ "$2" = step ] && in_step; then
    case $1,${SLURM_DISTRIBUTION-} in
      first,arbitrary*)
        # Slurm sorts the list of the step, but rank 0 is on the first host of the user's file.
        first_line SLURM_HOSTFILE "${SLURM_HOSTFILE-}" \
          'set MASTER_ADDR to the first host of the arbitrary distribution'
        return
        ;;
    esac
    list=${SLURM_STEP_NODELIST-}
  fi
  list=${list:-${SLURM_JOB_NODELIST:-${SLURM_NODELIST-}}}
  if [ "$list" ]; then
    read_hostlist "$list" "$1"
    [ "$1" = all ] || [ "$first_host" ] || die "the list of hosts \"$list\" has no host"
  elif [ "${PBS_NODEFILE-}" ]; then
    first_line PBS_NODEFILE "$PBS_NODEFILE" \
      'set MASTER_ADDR in the job script, which runs on the first node'
    [ "$1" = all ] || return 0
    before=''
    while read -r host _; do
      [ -z "$host" ] || [ "$host" = "$before" ] || printf '%s\n' "$host"
      before=$host
    done <"$PBS_NODEFILE"
  else
    return 1
  fi
}
