//! Responsible for known messages of failures: of runtimes, Slurm, the dynamic linker, PyTorch,
//! NCCL, RCCL and MIOpen.

use std::collections::BTreeMap;

use aho_corasick::AhoCorasick;

use super::lines::Place;
use crate::{
    code::{self, Code, Severity},
    finding::Finding,
};

/// Longest part of a line that a finding shows, in characters.
const SHOWN_MOST: usize = 160;

/// Parts of messages, each with the code of their finding. In a line with several parts, the first
/// of this table counts.
static MESSAGES: &[(&Code, &[&str])] = &[
    (
        &code::JOB_TIME_LIMIT,
        &["DUE TO TIME LIMIT", "job killed: walltime"],
    ),
    (
        &code::JOB_NODE_FAILURE,
        &[
            "DUE TO NODE FAILURE",
            "DUE TO PREEMPTION",
            "Node failure on",
        ],
    ),
    (
        &code::JOB_MEMORY,
        &[
            "oom-kill event",
            "oom_kill event",
            ": Out Of Memory",
            "Exceeded job memory limit",
            "job killed: mem",
            "Cannot allocate memory",
            "std::bad_alloc",
            "can't allocate memory",
        ],
    ),
    (
        &code::JOB_LOOP_DEVICES,
        &["no loop devices available", "failed to find loop device"],
    ),
    (
        &code::JOB_GPU_MEMORY,
        &[
            "HIP out of memory",
            "CUDA out of memory",
            "hipErrorOutOfMemory",
            "CUDA_ERROR_OUT_OF_MEMORY",
        ],
    ),
    (
        &code::JOB_GPU_MISSING,
        &[
            "No HIP GPUs are available",
            "No CUDA GPUs are available",
            "no ROCm-capable device is detected",
            "no CUDA-capable device is detected",
            "invalid device ordinal",
            "Found no NVIDIA driver",
            "hipErrorNoDevice",
            "hipErrorInvalidDevice",
            "CUDA_ERROR_NO_DEVICE",
        ],
    ),
    (&code::JOB_GPU_SHARED, &["Duplicate GPU detected"]),
    (
        &code::JOB_GPU_KERNEL,
        &[
            "no kernel image is available for execution",
            "hipErrorNoBinaryForGpu",
            "invalid device function",
        ],
    ),
    (
        &code::JOB_SPACE,
        &["No space left on device", "Disk quota exceeded"],
    ),
    (
        &code::JOB_LIBRARY,
        &[
            "error while loading shared libraries",
            "cannot open shared object file",
            "version `GLIBC_",
            "version `GLIBCXX_",
            "version `CXXABI_",
            "undefined symbol:",
        ],
    ),
    (
        &code::JOB_LAUNCH,
        &[
            "CPU binding outside of job step allocation",
            "Unable to satisfy cpu bind request",
            "Unable to create step for job",
            "Requested node configuration is not available",
            "Invalid account or account/partition combination",
            "Invalid MPI type",
            "couldn't find the specified plugin name for mpi",
            "slurmstepd: error: execve()",
            "PMI2_Init failed",
            "PMI_Init failed",
            "PMI2 init failed",
        ],
    ),
    (
        &code::JOB_CONTAINER,
        &["FATAL:   ", "FATAL: kernel too old", "FATAL   ["],
    ),
    (
        &code::JOB_PORT,
        &[
            "Address already in use",
            "EADDRINUSE",
            "address already in use",
        ],
    ),
    (
        &code::JOB_RENDEZVOUS,
        &[
            "Timed out waiting for clients",
            "timed out after 1800000ms",
            "client socket has timed out",
            "failed to connect to any network address",
            "RendezvousConnectionError",
            "RendezvousTimeoutError",
            "Watchdog caught collective operation timeout",
            "ncclRemoteError",
            "ncclSystemError",
        ],
    ),
    (
        &code::JOB_CACHE,
        &["PlainTextDb] Unable to create a directory"],
    ),
    (
        &code::JOB_PACKAGE_MISSING,
        &["ModuleNotFoundError: No module named"],
    ),
    (
        &code::JOB_INSTRUCTION,
        &[
            "Illegal instruction",
            "CPU ISA level is lower than required",
        ],
    ),
    (
        &code::JOB_CRASHED,
        &[
            "Segmentation fault",
            "segmentation fault",
            "Bus error",
            "(core dumped)",
            "Exited with exit code",
            "terminate called after throwing",
        ],
    ),
];

/// Parts of lines about something that a program has tried and does without: plugins of NCCL,
/// libraries of TensorFlow, what LD_PRELOAD names, and components of Open MPI.
const HARMLESS: [&str; 4] = [
    " NCCL INFO ",
    "Could not load dynamic library",
    "cannot be preloaded",
    "(ignored)",
];

/// Lines with one kind of message.
struct Seen {
    count: u64,
    text: String,
    place: String,
}

/// Collector of known messages.
pub(super) struct Known {
    /// Automaton over all parts of messages, or `None` if it could not be built.
    parts: Option<AhoCorasick>,
    /// Index in [`MESSAGES`] of each part.
    indices: Vec<usize>,
    seen: BTreeMap<usize, Seen>,
}

impl Known {
    pub(super) fn new() -> Self {
        let parts = || MESSAGES.iter().flat_map(|(_, parts)| parts.iter());
        let indices = MESSAGES.iter().enumerate();
        Self {
            parts: AhoCorasick::new(parts()).ok(),
            indices: indices
                .flat_map(|(index, (_, parts))| std::iter::repeat_n(index, parts.len()))
                .collect(),
            seen: BTreeMap::new(),
        }
    }

    /// Notes a line with a known message.
    pub(super) fn read(&mut self, text: &str, place: Place<'_>) {
        if HARMLESS.iter().any(|part| text.contains(part)) {
            return;
        }
        let Some(parts) = &self.parts else { return };
        let found = parts.find_overlapping_iter(text);
        let indices = found.filter_map(|found| self.indices.get(found.pattern().as_usize()));
        let Some(index) = indices.min() else { return };
        self.seen
            .entry(*index)
            .and_modify(|seen| seen.count += 1)
            .or_insert_with(|| Seen {
                count: 1,
                text: shortened(text),
                place: place.to_string(),
            });
    }

    /// Returns whether another message than that of a crash is an error.
    fn has_other_error(&self) -> bool {
        let codes = self.seen.keys().filter_map(|index| MESSAGES.get(*index));
        let mut codes = codes.map(|(code, _)| code);
        codes.any(|code| code.name != code::JOB_CRASHED.name && code.severity == Severity::Error)
    }

    /// Returns a finding for each kind of message. Kinds that are `found` already are left out, and
    /// a crash that another message explains.
    pub(super) fn judge(&self, found: &[&str]) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (index, seen) in &self.seen {
            let Some((code, _)) = MESSAGES.get(*index) else {
                continue;
            };
            let is_explained = code.name == code::JOB_CRASHED.name && self.has_other_error();
            if found.contains(&code.name) || is_explained {
                continue;
            }
            let more = match seen.count {
                1 => String::new(),
                2 => " (and 1 more line)".to_owned(),
                count => format!(" (and {} more lines)", count - 1),
            };
            let what = format!("{}: `{}`{more}", code.title, seen.text);
            findings.push(Finding::new(code, what, &seen.place));
        }
        findings
    }
}

/// Returns a line without its surrounding space, cut to the length that findings show.
fn shortened(text: &str) -> String {
    let text = text.trim().replace('`', "'");
    match text.char_indices().nth(SHOWN_MOST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
