//! Responsible for `condense doctor --mpi`: two ranks are started as jobs start them, and say which
//! library and which network they use, and how fast it is.

use std::{
    ffi::OsString,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, bail};
use condense_build::contents::SubjectKind;
use condense_catalogue::Site;
use condense_diagnostics::UserError;
use condense_env_vars as env_vars;
use condense_installation::Receipt;
use serde::Deserialize;
use serde_json::json;

use super::super::{Context, run::bin_dir, subject};

/// Program of the ranks.
const PROGRAM: &str = include_str!("ping_pong.py");
/// Start of the line that a rank prints.
const MARK: &str = "condense-mpi: ";
/// Libraries that are tried if nothing is known about the programs.
const LIBRARIES: [&str; 3] = ["libmpi.so.12", "libmpich.so.12", "libmpi.so.40"];
/// Variables with which the libraries name their network, unless the user has set them.
const VERBOSE: [(&str, &str); 3] = [
    ("MPICH_OFI_VERBOSE", "1"),
    ("MPIR_CVAR_DEBUG_SUMMARY", "1"),
    ("UCX_LOG_LEVEL", "info"),
];
/// Share of the bandwidth of sockets up to which MPI counts as using sockets itself.
const AS_SOCKETS: f64 = 1.3;

/// Report of one rank.
#[derive(Debug, Clone, Deserialize)]
struct Rank {
    #[serde(rename = "rank")]
    number: u32,
    size: u32,
    host: String,
    version: String,
    device: String,
    mapped: Vec<String>,
    of_host: String,
    latency: Option<f64>,
    seconds: Option<f64>,
    bytes: Option<f64>,
    socket_seconds: Option<f64>,
    socket_error: Option<String>,
}

/// Starts the ranks and prints what they say. `name` is an installation or an image; without one,
/// the Python and the MPI of the host are taken.
///
/// # Errors
/// Returns an error if there is nothing that starts ranks, or if they fail.
pub(super) fn examine(
    name: Option<&Path>,
    site: &Site,
    is_json: bool,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let launcher = launcher(context)?;
    let (program, libraries) = program_of(name, context)?;
    let mut command = Command::new(&launcher[0]);
    command.args(&launcher[1..]).args(&program);
    command.args(["-c", PROGRAM]).args(&libraries);
    for (variable, value) in VERBOSE {
        if context.env_vars.get(variable).is_none() {
            command.env(variable, value);
        }
    }
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("failed to start `{}`", launcher[0].display()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let ranks = ranks(&text);
    let shown = launcher.join(" ".as_ref());
    let [one, other] = &ranks[..] else {
        let said = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let last: Vec<&str> = said.collect();
        bail!(UserError::new(
            format!(
                "{} of two ranks have started with `{}`:\n{}",
                ranks.len(),
                shown.display(),
                last[last.len().saturating_sub(8)..].join("\n")
            ),
            "the image needs a python3 and an MPI library; CONDENSE_MPI=image and CONDENSE_MPI=host choose between two",
        ));
    };
    if one.size != 2 {
        bail!(UserError::new(
            format!(
                "each rank is alone: `{}` and {} do not speak the same protocol",
                shown.display(),
                one.version
            ),
            "for srun, `srun --mpi=list` shows what it speaks, and SLURM_MPI_TYPE=pmi2 is what MPICH in an image needs",
        ));
    }
    show(site, (one, other), &text, is_json, context);
    Ok(ExitCode::SUCCESS)
}

/// Returns the words that start two ranks.
fn launcher(context: &Context) -> anyhow::Result<Vec<OsString>> {
    let env_vars = context.env_vars;
    let on_path = |name: &str| {
        let path = env_vars.get(env_vars::PATH).unwrap_or_default();
        std::env::split_paths(path)
            .map(|dir| dir.join(name))
            .find(|program| program.is_file())
    };
    let is_in_job = env_vars.get(env_vars::SLURM_JOB_ID).is_some();
    if let Some(srun) = on_path("srun").filter(|_| is_in_job) {
        let nodes = env_vars.get(env_vars::SLURM_JOB_NUM_NODES);
        let nodes = if nodes.is_none_or(|nodes| nodes == "1") {
            "1"
        } else {
            "2"
        };
        return Ok(vec![
            srun.into(),
            "-N".into(),
            nodes.into(),
            "-n".into(),
            "2".into(),
        ]);
    }
    match on_path("mpiexec") {
        Some(mpiexec) => Ok(vec![mpiexec.into(), "-n".into(), "2".into()]),
        None => bail!(UserError::new(
            "nothing starts two ranks here: this is no Slurm job with srun, and mpiexec is not on PATH",
            "start this command in a job, for example with `salloc --nodes=2 --ntasks-per-node=1`",
        )),
    }
}

/// Returns the words that start Python, and the names of MPI libraries to try.
fn program_of(
    name: Option<&Path>,
    context: &Context,
) -> anyhow::Result<(Vec<OsString>, Vec<String>)> {
    let mut libraries = Vec::new();
    let words = match name {
        None => vec!["python3".into()],
        Some(name) => {
            let subject = subject::open(name, context.env_vars)?;
            match (subject.kind(), bin_dir(&subject)) {
                (SubjectKind::Installation, Some(bin)) => {
                    let receipt = subject.dir().and_then(|dir| Receipt::load(dir).ok());
                    let launch = receipt.and_then(|receipt| receipt.update_state.launch);
                    let of_programs = launch.and_then(|launch| launch.host_mpi);
                    libraries.extend(of_programs.into_iter().flat_map(|mpi| mpi.needed));
                    vec![bin.join("_debug_exec").into(), "python3".into()]
                }
                (SubjectKind::Sif, _) => {
                    let condense = std::env::current_exe();
                    let condense = condense.context("failed to find the program itself")?;
                    vec![
                        condense.into(),
                        "run".into(),
                        subject.path().into(),
                        "python3".into(),
                    ]
                }
                _ => bail!(UserError::new(
                    format!("nothing can be started in `{}`", name.display()),
                    "give an installation or a .sif",
                )),
            }
        }
    };
    for name in LIBRARIES {
        if !libraries.iter().any(|known| known == name) {
            libraries.push(name.to_owned());
        }
    }
    // Only the C library's names have the constants that the program uses.
    libraries.retain(|name| LIBRARIES.contains(&name.as_str()));
    Ok((words, libraries))
}

/// Returns the reports of the ranks, in their order.
fn ranks(text: &str) -> Vec<Rank> {
    let lines = text.lines().filter_map(|line| line.split_once(MARK));
    let mut ranks: Vec<Rank> = lines
        .filter_map(|(_, json)| serde_json::from_str(json.trim()).ok())
        .collect();
    ranks.sort_by_key(|rank| rank.number);
    ranks
}

/// Returns the network that the libraries name in their own messages, else the libraries of
/// networks that a rank has loaded.
fn provider(text: &str, rank: &Rank) -> String {
    for line in text.lines() {
        // Cray MPICH: `MPICH CH4 OFI netmod using cxi provider`.
        if let Some((before, _)) = line.split_once(" provider")
            && let Some((_, name)) = before.rsplit_once("using ")
            && !name.contains(' ')
        {
            return format!("libfabric, {name}");
        }
        // MPICH: `provider: tcp;ofi_rxm - fe80::/64`.
        if let Some((_, rest)) = line.split_once("provider: ")
            && let Some(name) = rest.split_whitespace().next()
        {
            return format!("libfabric, {name}");
        }
    }
    // UCX: `… ep_cfg[2]: tag(posix/memory tcp/lo)`.
    let mut transports = text
        .lines()
        .filter_map(|line| line.split_once(" tag(")?.1.split_once(')'))
        .filter(|(transports, _)| !transports.starts_with("self/"));
    if let Some((transports, _)) = transports.next_back() {
        return format!("UCX, {}", transports.trim());
    }
    let is_there = |stem: &str| rank.mapped.iter().any(|path| path.contains(stem));
    match (
        is_there("libcxi"),
        is_there("libfabric"),
        is_there("libucp"),
    ) {
        (true, ..) => "libfabric with libcxi".to_owned(),
        (_, true, _) => "libfabric".to_owned(),
        (_, _, true) => "UCX".to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// Prints the report on the two ranks.
fn show(site: &Site, (one, other): (&Rank, &Rank), text: &str, is_json: bool, context: &Context) {
    let bandwidth = |seconds: Option<f64>| Some(one.bytes? / seconds?);
    let (mpi, sockets) = (bandwidth(one.seconds), bandwidth(one.socket_seconds));
    let provider = provider(text, one);
    let file = if one.of_host.is_empty() {
        let mut paths = one.mapped.iter();
        let path = paths.find(|path| path.contains("libmpi"));
        path.map_or("unknown", String::as_str)
    } else {
        &one.of_host
    };
    let is_on_two = one.host != other.host;
    let is_slow = is_on_two
        && mpi
            .zip(sockets)
            .is_some_and(|(mpi, sockets)| mpi < sockets * AS_SOCKETS);
    if is_json {
        context.console.json(
            "doctor",
            json!({
                "site": site.name,
                "mpi": {
                    "library": one.version,
                    "device": one.device,
                    "file": file,
                    "of_host": !one.of_host.is_empty(),
                    "provider": provider,
                    "nodes": [one.host, other.host],
                    "latency_seconds": one.latency,
                    "bytes_per_second": mpi,
                    "bytes_per_second_of_sockets": sockets,
                    "is_as_slow_as_sockets": is_slow,
                },
            }),
        );
    } else {
        let owner = if one.of_host.is_empty() {
            ""
        } else {
            ", the host's"
        };
        let gigabytes = |value: Option<f64>| {
            value.map_or("unknown".to_owned(), |value| {
                format!("{:.2} GB/s", value / 1e9)
            })
        };
        let nodes = if is_on_two {
            format!("{} and {}", one.host, other.host)
        } else {
            format!("both on {}", one.host)
        };
        let latency = one.latency.unwrap_or_default() * 1e6;
        let rows = [
            ("library", format!("{}{owner}", one.version)),
            ("file", file.to_owned()),
            ("device", one.device.clone()),
            ("provider", provider),
            ("ranks", nodes),
            ("latency", format!("{latency:.1} us")),
            ("bandwidth", gigabytes(mpi)),
            ("sockets", gigabytes(sockets)),
        ];
        let rows = rows.iter().filter(|(_, value)| !value.is_empty());
        let rows: Vec<String> = rows
            .map(|(name, value)| format!("{name:18}{value}"))
            .collect();
        context.console.data(&rows.join("\n"));
    }
    if let Some(error) = &one.socket_error {
        context.report.warning(format!(
            "the bandwidth of sockets was not measured: {error}"
        ));
    }
    if is_slow {
        context
            .report
            .warning("MPI is as slow as sockets: it does not use the fast network of these nodes");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LINE: &str = r#"condense-mpi: {"rank": 1, "size": 2, "host": "a", "version": "MPICH", "device": "", "mapped": ["/x/libcxi.so.1"], "of_host": ""}"#;

    #[test]
    fn reports_are_found_among_other_output() {
        let text = format!(
            "noise\n[1] {LINE}\n{}\n",
            LINE.replace("\"rank\": 1", "\"rank\": 0")
        );
        let found: Vec<u32> = ranks(&text).iter().map(|rank| rank.number).collect();
        assert_eq!(found, [0, 1]);
        assert!(ranks("condense-mpi: {\"rank\"").is_empty());
    }

    /// R19: the libraries' own lines name the provider.
    #[test]
    fn the_provider_is_what_the_libraries_say() {
        let rank = ranks(LINE).remove(0);
        for (text, expected) in [
            (
                "PE 0: MPICH CH4 OFI netmod using cxi provider (domain_name='cxi0')",
                "libfabric, cxi",
            ),
            (
                "libfabric provider: tcp;ofi_rxm - 10.0.0.0/8",
                "libfabric, tcp;ofi_rxm",
            ),
            (
                "ucp_worker.c:1 UCX INFO ep_cfg[2]: tag(posix/memory tcp/lo)",
                "UCX, posix/memory tcp/lo",
            ),
            ("", "libfabric with libcxi"),
        ] {
            assert_eq!(provider(text, &rank), expected, "{text}");
        }
    }
}
