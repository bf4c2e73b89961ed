//! Responsible for comparing the GPU software of a base and of wheels with a node: the GPU vendor,
//! and the versions that the driver supports.

use crate::context::RuntimeContext;
use crate::{
    code,
    finding::Finding,
    machine::{Gpu, Machine, numbers},
    packages::PipPackage,
};

/// Place that findings about the base show to the user.
const BASE: &str = "the base image";

/// Checks that the GPU software of the base is for the GPUs of the site and that the driver
/// supports its version. Whether a program uses the software is found in packages and files.
pub(super) fn check_base(context: &RuntimeContext, machine: &Machine) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(found) = &context.rocm {
        findings.extend(out_of_range(Gpu::Amd, found, BASE, machine));
    }
    if let Some(found) = &context.cuda {
        findings.extend(out_of_range(Gpu::Nvidia, found, BASE, machine));
    }
    let there = match machine.gpu {
        Some(Gpu::Amd) => "AMD GPUs",
        Some(Gpu::Nvidia) => "NVIDIA GPUs",
        Some(Gpu::None) => "no GPUs",
        None => return findings,
    };
    let (code, name, version) = match (machine.gpu, &context.rocm, &context.cuda) {
        // A base with both CUDA and ROCm suits either vendor.
        (Some(Gpu::Amd | Gpu::None), None, Some(cuda)) => (&code::CUDA_LIBRARIES, "CUDA", cuda),
        (Some(Gpu::Nvidia | Gpu::None), Some(rocm), None) => (&code::ROCM_LIBRARIES, "ROCm", rocm),
        _ => return findings,
    };
    let what = format!(
        "the base image has {name} {version}, and {} has {there}",
        machine.site
    );
    findings.push(
        Finding::new(code, what, BASE)
            .with_fix("take a base image without it, or one for the site's GPUs"),
    );
    findings
}

/// Checks the versions in the tags of wheels: `+rocm6.2`, `+cu121`.
pub(super) fn check_wheels(
    pip: &[PipPackage],
    location: &str,
    machine: &Machine,
) -> Option<Finding> {
    pip.iter().find_map(|package| {
        let local = package.local_version()?;
        let (gpu, version) = if let Some(version) = local.strip_prefix("rocm") {
            (Gpu::Amd, version.to_owned())
        } else {
            let digits = local.strip_prefix("cu")?;
            let (major, minor) = digits.split_at_checked(digits.len().checked_sub(1)?)?;
            (Gpu::Nvidia, format!("{major}.{minor}"))
        };
        let location = format!("{location}: {} {}", package.name, package.version);
        out_of_range(gpu, &version, &location, machine)
    })
}

fn out_of_range(gpu: Gpu, found: &str, location: &str, machine: &Machine) -> Option<Finding> {
    if machine.gpu != Some(gpu) {
        return None;
    }
    let (driver, name, range) = match gpu {
        Gpu::Amd => {
            let driver = machine.rocm_driver.as_ref()?;
            let (there, wanted) = (rocm_rank(driver)?, rocm_rank(found)?);
            if there.abs_diff(wanted) <= ROCM_RANGE {
                return None;
            }
            (driver, "ROCm", "two minor versions around it")
        }
        Gpu::Nvidia => {
            let driver = machine.cuda_driver.as_ref()?;
            let major = |version: &str| numbers(version).first().copied();
            if major(found)? <= major(driver)? {
                return None;
            }
            (driver, "CUDA", "no newer major version")
        }
        Gpu::None => return None,
    };
    Some(Finding::new(
        &code::GPU_DRIVER_RANGE,
        format!(
            "{name} {found} is used, and the driver of {} is of {name} {driver}, which serves {range}",
            machine.site
        ),
        location,
    ))
}

/// Number of minor versions before and after its own that AMD's driver supports.
const ROCM_RANGE: u32 = 2;

/// Returns the position of a version in the sequence of minor versions: 6.0 follows 5.7, and 7.0
/// follows 6.4.
fn rocm_rank(version: &str) -> Option<u32> {
    let numbers = numbers(version);
    let (major, minor) = (*numbers.first()?, numbers.get(1).copied().unwrap_or(0));
    match major {
        // Versions before 5 are so old that no current driver supports them.
        0..=4 => Some(0),
        5 => Some(10 + minor),
        6 => Some(18 + minor),
        7 => Some(23 + minor),
        // The last minor version of ROCm 7 is not known yet, so versions from 8 have no position.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_serves_two_minor_versions_to_both_sides() {
        let machine = Machine {
            gpu: Some(Gpu::Amd),
            rocm_driver: Some("6.3.4".to_owned()),
            ..Machine::default()
        };
        for (version, fits) in [
            ("5.7.3", false),
            ("6.0.3", false),
            ("6.1.3", true),
            ("6.2.4", true),
            ("6.4.1", true),
            ("7.0", true),
            ("7.1.0", false),
            ("4.5", false),
            ("9.0", true),
        ] {
            let finding = out_of_range(Gpu::Amd, version, "x", &machine);
            assert_eq!(finding.is_none(), fits, "{version}: {finding:?}");
        }
        let machine = Machine {
            gpu: Some(Gpu::Nvidia),
            cuda_driver: Some("12.2".to_owned()),
            ..Machine::default()
        };
        for (version, fits) in [("11.8", true), ("12.6", true), ("13.0", false)] {
            let finding = out_of_range(Gpu::Nvidia, version, "x", &machine);
            assert_eq!(finding.is_none(), fits, "{version}");
        }
        assert_eq!(out_of_range(Gpu::Amd, "1.0", "x", &machine), None);
    }

    fn machine(gpu: Gpu) -> Machine {
        Machine {
            site: "here".to_owned(),
            gpu: Some(gpu),
            rocm_driver: Some("6.3.4".to_owned()),
            cuda_driver: Some("12.2".to_owned()),
            ..Machine::default()
        }
    }

    #[test]
    fn a_base_for_other_gpus_is_named_once() {
        let base = |rocm: Option<&str>, cuda: Option<&str>| RuntimeContext {
            rocm: rocm.map(str::to_owned),
            cuda: cuda.map(str::to_owned),
            ..RuntimeContext::default()
        };
        let codes = |context: &RuntimeContext, machine: &Machine| -> Vec<&str> {
            let findings = check_base(context, machine);
            findings.iter().map(|finding| finding.code.name).collect()
        };
        let (cuda, rocm) = (base(None, Some("12.1")), base(Some("6.2"), None));
        let (both, none) = (base(Some("6.2"), Some("12.1")), base(None, None));
        let of_cuda: &[&str] = &["cuda-libraries"];
        let of_rocm: &[&str] = &["rocm-libraries"];
        for (context, amd, nvidia, without) in [
            (&cuda, of_cuda, &[][..], of_cuda),
            (&rocm, &[], of_rocm, of_rocm),
            (&both, &[], &[], &[]),
            (&none, &[], &[], &[]),
        ] {
            assert_eq!(codes(context, &machine(Gpu::Amd)), amd);
            assert_eq!(codes(context, &machine(Gpu::Nvidia)), nvidia);
            assert_eq!(codes(context, &machine(Gpu::None)), without);
            assert_eq!(codes(context, &Machine::default()), [""; 0]);
        }
        let new = base(Some("7.2"), Some("13.0"));
        assert_eq!(codes(&new, &machine(Gpu::Amd)), ["gpu-driver-range"]);
        assert_eq!(codes(&new, &machine(Gpu::Nvidia)), ["gpu-driver-range"]);
    }

    #[test]
    fn tags_of_wheels_are_held_against_the_driver() {
        let finds = |version: &str, gpu: Gpu| {
            let pip = [PipPackage::new("torch", version)];
            check_wheels(&pip, "packages", &machine(gpu)).is_some()
        };
        for (version, on_amd, on_nvidia) in [
            ("2.5.1+rocm6.2", false, false),
            ("2.5.1+rocm7.1", true, false),
            ("2.5.1+cu121", false, false),
            ("2.5.1+cu130", false, true),
            ("2.5.1+cu92", false, false),
            ("2.5.1+cu", false, false),
            ("2.5.1+cpu", false, false),
            ("2.5.1", false, false),
        ] {
            assert_eq!(finds(version, Gpu::Amd), on_amd, "{version}");
            assert_eq!(finds(version, Gpu::Nvidia), on_nvidia, "{version}");
        }
    }

    #[test]
    fn minor_versions_of_rocm_follow_each_other_over_major_ones() {
        let rank = |version| rocm_rank(version);
        assert_eq!(rank("5.7").zip(rank("6.0")), Some((17, 18)));
        assert_eq!(rank("6.4").zip(rank("7.0")), Some((22, 23)));
        assert_eq!(rank("4.5"), Some(0));
        assert_eq!(rank("6"), rank("6.0"));
        assert_eq!(rank("8.0"), None);
        assert_eq!(rank("x"), None);
    }
}
