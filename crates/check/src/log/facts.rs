//! Responsible for collecting statements about a job, and for judging them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::lines::{Line, Place, parse};
use crate::{code, finding::Finding};

/// Maximum number of communicators whose ranks are kept. Those with the most ranks stay.
const COMMUNICATORS_MOST: usize = 64;
/// Maximum number of ranks, tasks or hosts that are kept of each kind.
const RANKS_MOST: usize = 1 << 17;

/// Statements of a log about its job. A list is empty, and a number is absent, where the log has no
/// such line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct JobFacts {
    /// Number of lines in all logs.
    pub lines: u64,
    /// Number of ranks: of the largest communicator, or of the lines of run scripts or Slurm.
    pub ranks: Option<u32>,
    /// Number of different hosts.
    pub hosts: usize,
    /// Networks that NCCL or RCCL uses: `AWS Libfabric`, `Socket`.
    pub networks: BTreeSet<String>,
    /// Providers of libfabric that NCCL or RCCL uses: `cxi`.
    pub providers: BTreeSet<String>,
    /// Smallest and largest number of NICs that a process has found.
    pub nics: Option<(u32, u32)>,
    /// Providers that MPI uses: `cxi`, `tcp`, `ucx`.
    pub mpi_providers: BTreeSet<String>,
    /// Whether each task has cores that no other task of its host has.
    pub has_own_cores: Option<bool>,
    /// Whether each rank has a GPU that no other rank of its host has.
    pub has_own_gpus: Option<bool>,
}

/// One rank of a communicator.
#[derive(Debug, Clone)]
struct Member {
    host: String,
    bus: String,
    is_complete: bool,
    place: String,
}

/// Members of one communicator, by their ranks.
#[derive(Debug, Default)]
struct Communicator {
    ranks: u32,
    members: BTreeMap<u32, Member>,
}

/// Cores and process of a task or a rank.
#[derive(Debug, Clone)]
struct Bound {
    process: String,
    mask: Vec<u8>,
    place: String,
}

/// Everything that logs state.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) lines: u64,
    hosts: BTreeSet<String>,
    /// Places of the first statement about each network, provider and provider of MPI.
    networks: BTreeMap<String, String>,
    providers: BTreeMap<String, String>,
    mpi_providers: BTreeMap<String, String>,
    nics: BTreeMap<u32, (String, String)>,
    has_no_plugin: bool,
    communicators: BTreeMap<String, Communicator>,
    /// Processes that are a communicator of their own, with the place of the first.
    alone: BTreeMap<String, String>,
    /// Tasks of the last step that Slurm has described, by host and number.
    tasks: BTreeMap<(String, u32), Bound>,
    /// Ranks that run scripts have described, by host and rank.
    ranks: BTreeMap<(String, u32), Vec<Bound>>,
}

impl Collected {
    /// Notes what a line states.
    pub(super) fn read(&mut self, text: &str, place: Place<'_>) {
        let Some(line) = parse(text) else { return };
        let note = |map: &mut BTreeMap<String, String>, name: &str| {
            if map.len() < RANKS_MOST {
                map.entry(name.to_owned())
                    .or_insert_with(|| place.to_string());
            }
        };
        match line {
            Line::Network { host, name } => {
                self.see(host);
                note(&mut self.networks, name);
            }
            Line::Provider { host, name, nics } => {
                self.see(host);
                note(&mut self.providers, name);
                if let Some(nics) = nics {
                    let seen = (host.to_owned(), place.to_string());
                    self.nics.entry(nics).or_insert(seen);
                }
            }
            Line::NoPlugin => self.has_no_plugin = true,
            Line::MpiProvider(name) => note(&mut self.mpi_providers, name),
            Line::Communicator {
                process,
                host,
                ranks: 1,
                ..
            } => {
                self.see(host);
                note(&mut self.alone, process);
            }
            Line::Communicator {
                host,
                id,
                rank,
                ranks,
                bus,
                is_complete,
                ..
            } => {
                self.see(host);
                let member = Member {
                    host: host.to_owned(),
                    bus: bus.to_owned(),
                    is_complete,
                    place: place.to_string(),
                };
                self.join(id, rank, ranks, member);
            }
            Line::TaskMask {
                host,
                task,
                process,
                mask,
            } => {
                self.see(host);
                self.bind_task(host, task, bound(process, mask, place));
            }
            Line::Rank {
                rank,
                process,
                host,
                mask,
            } => {
                if let Some(host) = host {
                    self.see(host);
                }
                let key = (host.unwrap_or_default().to_owned(), rank);
                if self.ranks.len() < RANKS_MOST {
                    let seen = self.ranks.entry(key).or_default();
                    if seen.iter().all(|one| one.process != process) {
                        seen.push(bound(process, mask, place));
                    }
                }
            }
        }
    }

    fn see(&mut self, host: &str) {
        if self.hosts.len() < RANKS_MOST && !self.hosts.contains(host) {
            self.hosts.insert(host.to_owned());
        }
    }

    fn join(&mut self, id: &str, rank: u32, ranks: u32, member: Member) {
        // Old versions do not name communicators; those of the same size count as one.
        let id = if id.is_empty() {
            format!("{ranks} ranks")
        } else {
            id.to_owned()
        };
        if !self.communicators.contains_key(&id) && self.communicators.len() >= COMMUNICATORS_MOST {
            let smallest = self.communicators.iter().min_by_key(|(_, one)| one.ranks);
            let Some((smallest, size)) = smallest.map(|(id, one)| (id.clone(), one.ranks)) else {
                return;
            };
            if size >= ranks {
                return;
            }
            self.communicators.remove(&smallest);
        }
        let communicator = self.communicators.entry(id).or_default();
        communicator.ranks = ranks;
        if communicator.members.len() < RANKS_MOST {
            let old = communicator.members.get(&rank);
            let is_complete = member.is_complete || old.is_some_and(|old| old.is_complete);
            let member = Member {
                is_complete,
                ..member
            };
            communicator.members.insert(rank, member);
        }
    }

    /// Notes the cores of a task. A task that is named again, by another process, begins a new
    /// step.
    fn bind_task(&mut self, host: &str, task: u32, bound: Bound) {
        let key = (host.to_owned(), task);
        let is_new_step = self
            .tasks
            .get(&key)
            .is_some_and(|old| old.process != bound.process);
        if is_new_step {
            self.tasks.clear();
        }
        if self.tasks.len() < RANKS_MOST {
            self.tasks.insert(key, bound);
        }
    }

    fn largest(&self) -> Option<&Communicator> {
        self.communicators.values().max_by_key(|one| one.ranks)
    }

    /// Returns the statements in short.
    pub(super) fn facts(&self) -> JobFacts {
        let names = |map: &BTreeMap<String, String>| map.keys().cloned().collect();
        let ranks = self.largest().map(|one| one.ranks).or_else(|| {
            let seen = self.ranks.len().max(self.tasks.len());
            (seen > 0).then(|| u32::try_from(seen).unwrap_or(u32::MAX))
        });
        let nics = self.nics.keys().next().zip(self.nics.keys().next_back());
        let has_masks = self.tasks.len() > 1 || self.ranks.len() > 1;
        let has_buses = self.largest().is_some_and(|one| {
            one.members.len() > 1 && one.members.values().all(|member| !member.bus.is_empty())
        });
        JobFacts {
            lines: self.lines,
            ranks,
            hosts: self.hosts.len(),
            networks: names(&self.networks),
            providers: names(&self.providers),
            nics: nics.map(|(least, most)| (*least, *most)),
            mpi_providers: names(&self.mpi_providers),
            has_own_cores: has_masks.then(|| self.shared_cores().is_none()),
            has_own_gpus: has_buses.then(|| self.shared_gpu().is_none()),
        }
    }

    /// Returns the findings about networks, ranks, cores and GPUs.
    pub(super) fn judge(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        findings.extend(self.sockets());
        findings.extend(self.different_nics());
        findings.extend(self.ranks_alone());
        findings.extend(self.missing_ranks());
        findings.extend(self.shared_gpu());
        findings.extend(self.shared_cores());
        findings
    }

    /// Sockets are no problem in a job of one host.
    fn sockets(&self) -> Vec<Finding> {
        if self.hosts.len() == 1 {
            return Vec::new();
        }
        let mut findings = Vec::new();
        if let Some(place) = self.networks.get("Socket") {
            let why = if self.has_no_plugin {
                ", since it found no plugin for the network"
            } else {
                ""
            };
            let what = format!("NCCL or RCCL sends its data through sockets{why}");
            findings.push(Finding::new(&code::JOB_SOCKETS, what, place));
        }
        let slow_names = ["tcp", "sockets", "udp"];
        let is_slow = |name: &str| slow_names.iter().any(|slow| name.starts_with(slow));
        let slow = |map: &BTreeMap<String, String>| {
            map.iter()
                .find(|(name, _)| is_slow(name))
                .map(|(name, place)| (name.clone(), place.clone()))
        };
        if let Some((name, place)) = slow(&self.providers) {
            let what = format!("NCCL or RCCL uses libfabric's provider `{name}`");
            findings.push(Finding::new(&code::JOB_SOCKETS, what, place));
        }
        if let Some((name, place)) = slow(&self.mpi_providers) {
            let what = format!("MPI uses libfabric's provider `{name}`");
            findings.push(Finding::new(&code::JOB_SOCKETS, what, place));
        }
        findings
    }

    fn different_nics(&self) -> Option<Finding> {
        let (least, (host, place)) = self.nics.first_key_value()?;
        let (most, (other, _)) = self.nics.last_key_value()?;
        (least < most).then(|| {
            let what = format!("{host} has found {least} NICs, and {other} {most}");
            Finding::new(&code::JOB_NICS, what, place)
        })
    }

    /// Each process of a job that has been started wrongly is a job of its own.
    fn ranks_alone(&self) -> Option<Finding> {
        if self.communicators.is_empty() && self.alone.len() > 1 {
            let (_, place) = self.alone.first_key_value()?;
            let what = format!(
                "{} processes are each rank 0 of 1, unless they ran one after another",
                self.alone.len()
            );
            return Some(Finding::new(&code::JOB_RANKS_ALONE, what, place));
        }
        let mut zeros = self.ranks.iter().filter(|((_, rank), _)| *rank == 0);
        let is_only_zero = self.ranks.keys().all(|(_, rank)| *rank == 0);
        let count: usize = self.ranks.values().map(Vec::len).sum();
        let (_, first) = zeros.next()?;
        (is_only_zero && count > 1).then(|| {
            let what =
                format!("{count} processes are each rank 0, unless they ran one after another");
            let place = first.first().map_or("", |one| &one.place);
            Finding::new(&code::JOB_RANKS_ALONE, what, place)
        })
    }

    /// Ranks that have not joined the largest communicator.
    fn missing_ranks(&self) -> Option<Finding> {
        let communicator = self.largest()?;
        let members = communicator.members.values();
        let complete = members.filter(|one| one.is_complete).count();
        let ranks = communicator.ranks as usize;
        // A rank completes when all others have joined, and logs may have the lines of some ranks
        // only.
        if complete == communicator.members.len() {
            return None;
        }
        let (rank, place) = communicator
            .members
            .iter()
            .find(|(_, one)| !one.is_complete)
            .map_or_else(
                || {
                    let rank = (0..communicator.ranks)
                        .find(|rank| !communicator.members.contains_key(rank));
                    let last = communicator.members.values().next_back();
                    (rank, last.map(|one| one.place.clone()))
                },
                |(rank, one)| (Some(*rank), Some(one.place.clone())),
            );
        let what = format!(
            "{complete} of {ranks} ranks have joined the communicator; rank {} has not",
            rank.unwrap_or_default()
        );
        let place = place.unwrap_or_default();
        Some(Finding::new(&code::JOB_RANKS_MISSING, what, place))
    }

    fn shared_gpu(&self) -> Option<Finding> {
        let mut taken = BTreeMap::new();
        for (rank, member) in &self.largest()?.members {
            if member.bus.is_empty() {
                continue;
            }
            if let Some(other) = taken.insert((&member.host, &member.bus), rank) {
                let what = format!(
                    "ranks {other} and {rank} on {} use the same GPU, {}",
                    member.host, member.bus
                );
                return Some(Finding::new(&code::JOB_GPU_SHARED, what, &member.place));
            }
        }
        None
    }

    fn shared_cores(&self) -> Option<Finding> {
        let tasks = self
            .tasks
            .iter()
            .map(|((host, task), one)| (host, task, one));
        let ranks = self.ranks.iter();
        let ranks = ranks.filter_map(|((host, rank), all)| Some((host, rank, all.first()?)));
        let by_host = |all: &mut dyn Iterator<Item = (&String, &u32, &Bound)>| {
            let mut taken: BTreeMap<String, Vec<(u32, Vec<u8>)>> = BTreeMap::new();
            for (host, task, one) in all {
                let others = taken.entry(host.clone()).or_default();
                if let Some((other, _)) = others.iter().find(|(_, mask)| overlaps(mask, &one.mask))
                {
                    let host = if host.is_empty() {
                        String::new()
                    } else {
                        format!(" on {host}")
                    };
                    let what = format!("tasks {other} and {task}{host} share cores");
                    return Some(Finding::new(&code::JOB_CORES_SHARED, what, &one.place));
                }
                others.push((*task, one.mask.clone()));
            }
            None
        };
        // Old run scripts do not name their hosts, so that equal masks may be on different hosts.
        by_host(&mut { tasks })
            .or_else(|| by_host(&mut { ranks }.filter(|(host, ..)| !host.is_empty())))
    }
}

fn bound(process: &str, mask: &str, place: Place<'_>) -> Bound {
    let digits = mask.trim_start_matches("0x").chars().rev();
    Bound {
        process: process.to_owned(),
        mask: digits
            .filter_map(|digit| digit.to_digit(16))
            .filter_map(|digit| u8::try_from(digit).ok())
            .collect(),
        place: place.to_string(),
    }
}

/// Returns whether two masks have a core in common. Masks are hexadecimal digits, the least
/// significant first.
fn overlaps(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).any(|(a, b)| a & b != 0)
}
