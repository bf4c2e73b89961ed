//! Responsible for `condense check --log`: showing what the logs of a job tell about it.

use std::path::PathBuf;

use condense_check::{JobFacts, JobLog, check_logs};
use condense_env_vars::EnvVars;

/// Reads the logs.
///
/// # Errors
/// Returns an error if a log cannot be read or is a directory.
pub(super) fn read(paths: &[PathBuf], env_vars: &EnvVars) -> anyhow::Result<JobLog> {
    let paths: Vec<PathBuf> = paths.iter().map(|path| env_vars.cwd.join(path)).collect();
    Ok(check_logs(&paths)?)
}

/// Returns the facts as lines, each with a name in front.
pub(super) fn describe(facts: &JobFacts) -> Vec<String> {
    let mut lines = Vec::new();
    let mut tell = |name: &str, text: String| lines.push(format!("{name:9}{text}"));
    let join = |names: &std::collections::BTreeSet<String>| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.join(", ")
    };
    if let Some(ranks) = facts.ranks {
        let hosts = match facts.hosts {
            0 => String::new(),
            1 => " on 1 host".to_owned(),
            hosts => format!(" on {hosts} hosts"),
        };
        tell("ranks", format!("{ranks}{hosts}"));
    }
    if !facts.networks.is_empty() || !facts.providers.is_empty() {
        let providers = if facts.providers.is_empty() {
            String::new()
        } else {
            format!("{} through ", join(&facts.providers))
        };
        let networks = if facts.networks.is_empty() {
            "libfabric".to_owned()
        } else {
            join(&facts.networks)
        };
        let nics = match facts.nics {
            None => String::new(),
            Some((least, most)) if least == most => format!(", {most} NICs a process"),
            Some((least, most)) => format!(", {least} to {most} NICs a process"),
        };
        tell("NCCL", format!("{providers}{networks}{nics}"));
    }
    if !facts.mpi_providers.is_empty() {
        tell("MPI", join(&facts.mpi_providers));
    }
    if let Some(has_own) = facts.has_own_cores {
        tell(
            "cores",
            own(has_own, "each task has its own", "tasks share cores"),
        );
    }
    if let Some(has_own) = facts.has_own_gpus {
        tell(
            "GPUs",
            own(has_own, "each rank has its own", "ranks share GPUs"),
        );
    }
    lines
}

fn own(has_own: bool, yes: &str, no: &str) -> String {
    (if has_own { yes } else { no }).to_owned()
}

/// Returns advice for a log that says nothing about the job.
pub(super) fn advice(facts: &JobFacts) -> &'static str {
    if facts.lines == 0 {
        "the log is empty: the job has written nothing yet, or writes elsewhere"
    } else {
        "the log names no network and no ranks: MPICH_OFI_VERBOSE=1, CONDENSE_VERBOSE=1, \
         `srun --cpu-bind=verbose`, and NCCL_DEBUG=INFO with NCCL_DEBUG_FILE=$PWD/nccl-%h-%p.txt \
         (one `--log` for each file) make a job tell them"
    }
}
