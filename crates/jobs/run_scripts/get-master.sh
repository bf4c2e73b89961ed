#!/bin/sh
# Prints the first node of a list of hosts, by default that of the step or job it runs in.
# Part of condense. Copies of this file work alone.
set -u
me=get-master
usage='usage: get-master [--all] [LIST]

Prints the first node of LIST, a list as Slurm writes it: n1,r[1-2]n[03-11]
Without LIST, the nodes are those of the step, the job, or the PBS job.
  --all  print all nodes, one per line
A list with a mistake is an error, and the exit status is 1.'
die() { printf '%s: %s\n' "$me" "$1" >&2; exit 1; }
refuse() { printf '%s: %s\n%s\n' "$me" "$1" "$usage" >&2; exit 2; }

# shellcheck source=crates/jobs/run_scripts/parts/hostlist.sh
. "${0%/*}/parts/hostlist.sh"
# shellcheck source=crates/jobs/run_scripts/parts/job.sh
. "${0%/*}/parts/job.sh"

wanted_nodes=first
while [ $# -gt 0 ]; do
  case $1 in
    --all) wanted_nodes=all ;;
    -h | --help) printf '%s\n' "$usage"; exit 0 ;;
    --) shift; break ;;
    -?*) refuse "unknown option $1" ;;
    *) break ;;
  esac
  shift
done
[ $# -le 1 ] || refuse 'more than one list'
if [ $# = 1 ]; then
  [ "$1" ] || die 'the list of hosts is empty'
  # A list with a mistake prints nothing.
  [ "$wanted_nodes" = first ] || read_hostlist "$1" none
  read_hostlist "$1" "$wanted_nodes"
  [ "$wanted_nodes" = all ] || [ "$first_host" ] || die "the list of hosts \"$1\" has no host"
else
  read_nodes "$wanted_nodes" step || die 'no list of hosts is given, and this is no job of Slurm or PBS'
fi
[ "$wanted_nodes" = all ] || printf '%s\n' "$first_host"
