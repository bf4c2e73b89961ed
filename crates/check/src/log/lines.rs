//! Responsible for the lines by which NCCL, RCCL, MPICH, Slurm and run scripts describe a job.

/// Place of a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// Name of the log.
    pub name: &'a str,
    /// Number of the line, from 1.
    pub number: u64,
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.name, self.number)
    }
}

/// Statement that a line makes about the job.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A process uses this network for collective operations: `AWS Libfabric`, `Socket`.
    Network { host: &'a str, name: &'a str },
    /// The plugin for libfabric has chosen a provider, and has found this number of NICs.
    Provider {
        host: &'a str,
        name: &'a str,
        nics: Option<u32>,
    },
    /// No plugin for a network was found.
    NoPlugin,
    /// A process has begun to join a communicator, or has finished.
    Communicator {
        process: &'a str,
        host: &'a str,
        id: &'a str,
        rank: u32,
        ranks: u32,
        bus: &'a str,
        is_complete: bool,
    },
    /// MPICH uses this provider of libfabric, or `ucx`.
    MpiProvider(&'a str),
    /// Slurm has bound a task to cores.
    TaskMask {
        host: &'a str,
        task: u32,
        process: &'a str,
        mask: &'a str,
    },
    /// A run script describes its rank.
    Rank {
        rank: u32,
        process: &'a str,
        host: Option<&'a str>,
        mask: &'a str,
    },
}

/// Returns the statement of a line, if it makes one.
pub(super) fn parse(line: &str) -> Option<Line<'_>> {
    if let Some((head, text)) = line.split_once(" NCCL INFO ") {
        return nccl(head, text);
    }
    if let Some((_, text)) = line.split_once("MPICH CH4 OFI netmod using ") {
        return Some(Line::MpiProvider(text.split_whitespace().next()?));
    }
    if let Some((_, text)) = line.split_once("libfabric provider: ") {
        return Some(Line::MpiProvider(text.split_whitespace().next()?));
    }
    if line.ends_with("==== UCX netmod Capability ====") {
        return Some(Line::MpiProvider("ucx"));
    }
    if let Some(start) = line.find("cpu-bind") {
        return cpu_bind(&line[start..]);
    }
    let start = line.find("Rank ")?;
    run_script(&line[start..])
}

/// Parses the text after `NCCL INFO`, which RCCL writes as well. The head ends with
/// `HOST:PROCESS:THREAD [DEVICE]`.
fn nccl<'a>(head: &'a str, text: &'a str) -> Option<Line<'a>> {
    let (head, _device) = head.rsplit_once(' ')?;
    let who = head.rsplit(' ').next()?;
    let (process, _thread) = who.rsplit_once(':')?;
    let (host, _) = process.rsplit_once(':')?;
    // Open MPI's label `[1,0]<stdout>:` and srun's label `0:` stand in front of the host.
    let host = host.rsplit([':', '>']).next()?;
    let process = process.trim_start_matches(|c: char| !c.is_alphanumeric());
    if let Some(name) = text.strip_prefix("Using network ") {
        return Some(Line::Network { host, name });
    }
    if let Some(rest) = text.strip_prefix("NET/OFI Selected ") {
        return provider(host, rest);
    }
    if text.starts_with("NET/Plugin")
        && (text.contains("No plugin found") || text.contains("Could not find"))
    {
        return Some(Line::NoPlugin);
    }
    communicator(process, host, text)
}

/// Parses `Provider is cxi (found 4 nics)` and `provider is cxi, fabric is cxi (found 4 nics)`.
fn provider<'a>(host: &'a str, text: &'a str) -> Option<Line<'a>> {
    let (_, name) = text.split_once("rovider is ")?;
    let name = name.split([',', ' ', '(']).next()?;
    let nics = text
        .split_once("found ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    Some(Line::Provider { host, name, nics })
}

/// Parses `comm 0x5 rank 3 nranks 32 cudaDev 3 busId c9000 commId 0x7 - Init COMPLETE`, which
/// begins with the name of a function in some versions.
fn communicator<'a>(process: &'a str, host: &'a str, text: &'a str) -> Option<Line<'a>> {
    let is_complete = text.contains("Init COMPLETE");
    if !is_complete && !text.contains("Init START") {
        return None;
    }
    let value = |key: &str| {
        let mut words = text.split_whitespace();
        words.find(|word| word.eq_ignore_ascii_case(key))?;
        words.next()
    };
    Some(Line::Communicator {
        process,
        host,
        id: value("commId").unwrap_or_default(),
        rank: value("rank")?.parse().ok()?,
        ranks: value("nranks")?.parse().ok()?,
        bus: value("busId").unwrap_or_default(),
        is_complete,
    })
}

/// Parses `cpu-bind=MASK - nid001, task  3  3 [1234]: mask 0xfe set`.
fn cpu_bind(text: &str) -> Option<Line<'_>> {
    let (_, rest) = text.split_once(" - ")?;
    let (host, rest) = rest.split_once(", task ")?;
    let task = rest.split_whitespace().next()?.parse().ok()?;
    let (_, rest) = rest.split_once('[')?;
    let (process, rest) = rest.split_once(']')?;
    let (_, mask) = rest.split_once("mask 0x")?;
    Some(Line::TaskMask {
        host,
        task,
        process,
        mask: mask.split_whitespace().next()?,
    })
}

/// Parses `Rank 3 --> pid 1's current affinity mask: fe; GPU 3; host nid001; …`, of which the older
/// run scripts of LUMI write the first part.
fn run_script(text: &str) -> Option<Line<'_>> {
    let (rank, rest) = text.strip_prefix("Rank ")?.split_once(" --> pid ")?;
    let (process, rest) = rest.split_once("'s current affinity mask: ")?;
    let mut parts = rest.split(';').map(str::trim);
    let mask = parts.next()?;
    let host = parts.find_map(|part| part.strip_prefix("host "));
    Some(Line::Rank {
        rank: rank.parse().ok()?,
        process,
        host,
        mask,
    })
}
