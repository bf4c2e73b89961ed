//! Responsible for examining GPUs and their drivers by the files that the kernel shows.

use std::path::Path;

use super::{Health, Host, count, names, opens, text};
use crate::{
    code,
    machine::{Gpu, Machine, numbers},
};

/// Versions of AMD's kernel module `amdgpu`, each with the version of ROCm that it was released
/// with.
const AMD: [(&[u32], &str); 6] = [
    (&[6, 2], "5.7"),
    (&[6, 3], "6.0"),
    (&[6, 7], "6.1"),
    (&[6, 8], "6.2"),
    (&[6, 10], "6.3"),
    (&[6, 12], "6.4"),
];
/// First driver of NVIDIA that supports a version of CUDA.
const NVIDIA: [(u32, &str); 15] = [
    (470, "11.4"),
    (495, "11.5"),
    (510, "11.6"),
    (515, "11.7"),
    (520, "11.8"),
    (525, "12.0"),
    (530, "12.1"),
    (535, "12.2"),
    (545, "12.3"),
    (550, "12.4"),
    (555, "12.5"),
    (560, "12.6"),
    (565, "12.7"),
    (570, "12.8"),
    (580, "13.0"),
];

pub(super) fn examine(host: &Host, machine: &Machine, health: &mut Health) {
    let root = &host.root;
    let amd = amd_gpus(root);
    let nvidia = names(&root.join("proc/driver/nvidia/gpus")).len();
    let mut found = Vec::new();
    for (number, gpu, device) in [
        (amd, Gpu::Amd, "dev/kfd"),
        (nvidia, Gpu::Nvidia, "dev/nvidiactl"),
    ] {
        if number == 0 {
            continue;
        }
        found.push(count(number, gpu));
        let device_path = root.join(device);
        if device_path.exists() && !opens(&device_path) {
            health.finding(
                &code::GPU_ACCESS,
                format!("{}, and `/{device}` cannot be opened", count(number, gpu)),
                &format!("/{device}"),
            );
        }
    }
    let shown = if found.is_empty() {
        "none".to_owned()
    } else {
        found.join(", ")
    };
    health.fact("gpus", shown);
    let here = match machine.gpu {
        Some(Gpu::Amd) => amd > 0,
        Some(Gpu::Nvidia) => nvidia > 0,
        _ => true,
    };
    if !here {
        health.finding(
            &code::NO_GPU,
            format!(
                "{} has GPUs, and this node shows none of them",
                machine.site
            ),
            "/sys/class/kfd, /proc/driver/nvidia",
        );
    }
    if let Some(driver) = text(&root.join("sys/module/amdgpu/version")) {
        let rocm = rocm_of(&driver);
        health.fact("amdgpu driver", with(&driver, "ROCm", rocm));
        differs("ROCm", rocm, machine.rocm_driver.as_deref(), health);
    }
    if let Some(driver) = nvidia_driver(root) {
        let cuda = cuda_of(&driver);
        health.fact("nvidia driver", with(&driver, "CUDA", cuda));
        differs("CUDA", cuda, machine.cuda_driver.as_deref(), health);
    }
}

/// Returns the newest CUDA that the driver below a root directory supports, or `None` without
/// NVIDIA's driver.
pub fn cuda_of_driver(root: &Path) -> Option<&'static str> {
    cuda_of(&nvidia_driver(root)?)
}

/// Counts the GPUs of AMD: nodes of the topology with a GPU ID are GPUs, the other nodes are
/// processors.
fn amd_gpus(root: &Path) -> usize {
    let nodes = root.join("sys/class/kfd/kfd/topology/nodes");
    names(&nodes)
        .iter()
        .filter(|node| {
            text(&nodes.join(node).join("gpu_id")).is_some_and(|id| !id.is_empty() && id != "0")
        })
        .count()
}

/// Reads the version of NVIDIA's driver from the line `NVRM version: NVIDIA UNIX x86_64 Kernel
/// Module  535.154.05  Thu Dec 28 …`.
fn nvidia_driver(root: &Path) -> Option<String> {
    let text = text(&root.join("proc/driver/nvidia/version"))?;
    let line = text
        .lines()
        .find(|line| line.starts_with("NVRM version:"))?;
    let version = line
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))?;
    Some(version.to_owned())
}

fn rocm_of(driver: &str) -> Option<&'static str> {
    let numbers = numbers(driver);
    let known = AMD.iter().find(|(start, _)| numbers.starts_with(start))?;
    Some(known.1)
}

fn cuda_of(driver: &str) -> Option<&'static str> {
    let number = *numbers(driver).first()?;
    let known = NVIDIA.iter().rev().find(|(first, _)| number >= *first)?;
    Some(known.1)
}

fn with(driver: &str, name: &str, version: Option<&str>) -> String {
    version.map_or(driver.to_owned(), |version| {
        format!("{driver} ({name} {version})")
    })
}

fn differs(name: &str, found: Option<&str>, known: Option<&str>, health: &mut Health) {
    let (Some(found), Some(known)) = (found, known) else {
        return;
    };
    if !numbers(known).starts_with(&numbers(found)) {
        health.finding(
            &code::DRIVER_DIFFERS,
            format!("the driver is of {name} {found}, the catalogue says {known}"),
            "the kernel's modules",
        );
    }
}
