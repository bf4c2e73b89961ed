//! Solves for x86-64 and prints the number of packages and the peak memory, which
//! `scripts/test-memory` checks.
//!
//! usage: solve CACHE_DIR CHANNEL_URL SPEC…
#![allow(clippy::print_stdout)]

use std::{path::Path, time::Duration};

use condense_prefix::{
    Architecture, EnvironmentSpec, Network, NetworkSettings, Phase, Progress, Target, Warning,
    solve,
};

struct Silent;

impl Progress for Silent {
    fn begin(&self, _: Phase, _: Option<u64>) {}
    fn advance(&self, _: Phase, _: u64) {}
    fn detail(&self, _: Phase, _: &str) {}
    fn output(&self, _: &str) {}
    fn end(&self, _: Phase, _: Duration) {}
    fn cancelled(&self) -> bool {
        false
    }
    fn warn(&self, warning: Warning) {
        println!("{warning}");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(cache_dir), Some(channel)) = (words.next(), words.next()) else {
        return Err("usage: solve CACHE_DIR CHANNEL_URL SPEC…".into());
    };
    let specs: Vec<String> = words.map(|spec| format!("- '{spec}'\n")).collect();
    let text = format!("channels: ['{channel}']\ndependencies:\n{}", specs.concat());
    let spec = EnvironmentSpec::parse(&text, Path::new("arguments"), Path::new("/"))?;
    let target = Target {
        architecture: Architecture::X86_64,
        glibc: Some("2.36".to_owned()),
        linux: Some("6.1".to_owned()),
        archspec: None,
        cuda: None,
    };
    let network = Network::open(NetworkSettings::new(&cache_dir))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let scratch = Path::new(&cache_dir);
    let solution = runtime.block_on(solve(&spec, &target, &network, scratch, &Silent))?;
    let status = fs_err::read_to_string("/proc/self/status")?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .ok_or("this system does not say how much memory was used")?;
    println!("{} packages, {} MB at most", solution.len(), peak / 1000);
    Ok(())
}
