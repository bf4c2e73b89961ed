//! Responsible for the target of an environment: the facts of the base and of this machine.

use condense_base::{BaseFacts, BaseImage};
use condense_installation::HostView;
use condense_prefix::{Architecture, Target};

use crate::{plan::Overrides, report::Report};
use condense_diagnostics::UserError;

/// Version of glibc that conda-forge itself requires. A machine with an older one must say so.
pub(super) const BASELINE_GLIBC: &str = "2.28";

/// Facts about a base that matter for the choice of packages.
#[derive(Debug, Clone, Copy)]
pub(super) struct BaseSystem<'a> {
    /// Architecture in the wording of `uname -m`; this machine's by default.
    pub(super) architecture: Option<&'a str>,
    /// Version of the GNU C library, if the base has it.
    pub(super) glibc: Option<&'a str>,
    /// System directories that programs see.
    pub(super) view: HostView,
}

impl<'a> BaseSystem<'a> {
    /// Returns the facts of an open base.
    pub(super) fn of(facts: &'a BaseFacts, view: HostView) -> Self {
        Self {
            architecture: facts.architecture.as_deref(),
            glibc: facts.glibc.as_deref(),
            view,
        }
    }
}

/// Returns the target for which the solver chooses packages.
///
/// In the base's view, programs run on the base's C library. In the host's view, they run on the
/// host's, and the older of both is assumed.
///
/// # Errors
/// Returns an error if there are no packages for the processor, or if the host cannot be read.
pub(super) fn target(
    system: BaseSystem,
    overrides: &Overrides,
    report: &Report,
) -> anyhow::Result<Target> {
    let machine = system.architecture.unwrap_or(std::env::consts::ARCH);
    let of_base = system.glibc.map(str::to_owned);
    let architecture = Architecture::from_machine(machine).ok_or_else(|| {
        UserError::new(
            format!("there are no conda packages for `{machine}`"),
            "use a base image for x86_64 or aarch64",
        )
    })?;
    let glibc = match (&overrides.glibc, system.view) {
        (Some(version), _) => Some(version.clone()),
        (None, HostView::Base) => of_base,
        (None, HostView::Host) => {
            let host = host_glibc()?;
            report.warning(
                "the host's system directories will be seen: solved for this machine's C library, compute nodes must not have an older one",
            );
            older(host, of_base)
        }
    };
    if glibc.is_none() {
        report.warning("the base has no glibc: most conda packages cannot be installed for it");
    }
    Ok(Target {
        architecture,
        glibc,
        linux: overrides.linux.clone().or_else(kernel),
        archspec: overrides
            .archspec
            .clone()
            .or_else(|| Some(level().to_owned())),
        cuda: overrides.cuda.clone(),
    })
}

fn host_glibc() -> anyhow::Result<Option<String>> {
    // The host is read like any other root file system.
    Ok(BaseImage::open("/")?.facts()?.glibc)
}

fn older(one: Option<String>, other: Option<String>) -> Option<String> {
    let number = |version: &String| -> Vec<u32> {
        version
            .split('.')
            .filter_map(|part| part.parse().ok())
            .collect()
    };
    match (one, other) {
        (Some(one), Some(other)) => Some(if number(&one) <= number(&other) {
            one
        } else {
            other
        }),
        (one, other) => one.or(other),
    }
}

/// Returns the kernel's version in conda's form, which has numbers only.
pub(super) fn kernel() -> Option<String> {
    let release = rustix::system::uname().release().to_str().ok()?.to_owned();
    let end = release
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(release.len());
    let version = release[..end].trim_matches('.');
    (!version.is_empty()).then(|| version.to_owned())
}

/// Returns the level of x86-64 that this processor supports. Packages require a level, not the name
/// of a processor.
#[cfg(target_arch = "x86_64")]
fn level() -> &'static str {
    macro_rules! has {
        ($($feature:tt)*) => { $(std::is_x86_feature_detected!($feature))&&* };
    }
    let v2 = has!("sse3" "ssse3" "sse4.1" "sse4.2" "popcnt");
    let v3 = v2 && has!("avx" "avx2" "bmi1" "bmi2" "f16c" "fma" "lzcnt" "movbe");
    let v4 = v3 && has!("avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl");
    match (v2, v3, v4) {
        (_, _, true) => "x86_64_v4",
        (_, true, _) => "x86_64_v3",
        (true, _, _) => "x86_64_v2",
        _ => "x86_64",
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn level() -> &'static str {
    std::env::consts::ARCH
}

#[cfg(test)]
mod tests {
    use super::older;

    #[test]
    fn versions_are_compared_as_numbers() {
        let check = |one: Option<&str>, other: Option<&str>, expected: Option<&str>| {
            assert_eq!(
                older(one.map(str::to_owned), other.map(str::to_owned)).as_deref(),
                expected
            );
        };
        check(Some("2.9"), Some("2.31"), Some("2.9"));
        check(Some("2.36"), Some("2.31"), Some("2.31"));
        check(None, Some("2.31"), Some("2.31"));
        check(None, None, None);
    }
}
