//! Responsible for finding software that is built for the GPUs of another vendor.

use std::path::Path;

use super::driver;
use crate::context::{Request, RuntimeContext};
use crate::finding::some_of;
use crate::{
    code::{self, Code},
    finding::Finding,
    inventory::Inventory,
    machine::{Gpu, Machine, numbers},
    packages::{CondaPackage, PipPackage},
};

/// Libraries of NVIDIA's toolkit. A file that is linked to one of them was built for CUDA.
const CUDA_LIBRARIES: [&str; 12] = [
    "libcudart",
    "libcublas",
    "libcublasLt",
    "libcudnn",
    "libcufft",
    "libcurand",
    "libcusolver",
    "libcusparse",
    "libnccl",
    "libnvrtc",
    "libcupti",
    "libnvJitLink",
];
/// Libraries of AMD's ROCm. A file that is linked to one of them was built for ROCm.
const ROCM_LIBRARIES: [&str; 9] = [
    "libamdhip64",
    "librocblas",
    "libhipblas",
    "libhipblaslt",
    "libMIOpen",
    "librccl",
    "libhsa-runtime64",
    "libhipfft",
    "libhiprtc",
];
/// Prefixes of plugins that a program loads only on a machine with such GPUs, and does without
/// otherwise.
const PLUGINS: [&str; 5] = ["libuct_", "libucm_", "libucc_", "libucx_", "mca_"];
/// Names of packages in conda's channels that hold only NVIDIA's libraries.
const CONDA_CUDA: [&str; 10] = [
    "cudatoolkit",
    "cuda",
    "cudnn",
    "nccl",
    "libcublas",
    "libcufft",
    "libcurand",
    "libcusolver",
    "libcusparse",
    "libnvjitlink",
];
/// Packages of PyPI that are built for CUDA although neither their names nor their versions say so.
const CUDA_BY_DEFAULT: [&str; 3] = ["torch", "torchvision", "torchaudio"];

/// GPUs that a package was built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GpuBuild {
    /// The package cannot use GPUs of another vendor.
    Vendor(Gpu),
    /// The package holds NVIDIA's own libraries, on which another package depends.
    NvidiaLibraries,
}

pub(super) fn check(
    inventory: &Inventory,
    context: &RuntimeContext,
    machine: &Machine,
) -> Vec<Finding> {
    let mut findings = check_packages(&inventory.conda, &inventory.pip, "packages", machine);
    let (wrong, libraries): (&Code, &[&str]) = match machine.gpu {
        Some(Gpu::Amd) => (&code::CUDA_ON_AMD, &CUDA_LIBRARIES),
        Some(Gpu::Nvidia) => (&code::ROCM_ON_NVIDIA, &ROCM_LIBRARIES),
        _ => return [findings, driver::check_base(context, machine)].concat(),
    };
    // A finding about packages explains more than one about their files, so files are judged only
    // without the former.
    if !findings.iter().any(|finding| finding.code == wrong) {
        let linked = inventory.elves.iter().filter(|(path, elf)| {
            !is_vendors_own(path, libraries)
                && elf.needed.iter().any(|name| is_any(name, libraries))
        });
        let linked: Vec<String> = linked
            .map(|(path, _)| inventory.display_path(path))
            .collect();
        if !linked.is_empty() {
            let software = if machine.gpu == Some(Gpu::Amd) {
                "CUDA"
            } else {
                "ROCm"
            };
            findings.push(Finding::new(
                wrong,
                format!(
                    "{} files are linked to libraries of {software}",
                    linked.len()
                ),
                some_of(&linked),
            ));
        }
    }
    findings.extend(driver::check_base(context, machine));
    findings
}

/// Checks packages, before or after they are installed.
pub(super) fn check_packages(
    conda: &[CondaPackage],
    pip: &[PipPackage],
    location: &str,
    machine: &Machine,
) -> Vec<Finding> {
    let Some(gpu) = machine.gpu else {
        return Vec::new();
    };
    let with_libraries = pip
        .iter()
        .any(|package| gpu_build_of_pip(package) == Some(GpuBuild::NvidiaLibraries));
    let all = conda
        .iter()
        .map(|package| {
            let name = [&*package.name, &*package.version, &*package.build].join(" ");
            (name.trim().to_owned(), gpu_build_of_conda(package))
        })
        .chain(pip.iter().map(|package| {
            let name = [&*package.name, &*package.version].join(" ");
            // PyPI's builds of these packages are for CUDA, and have NVIDIA's libraries beside
            // them.
            let plain = CUDA_BY_DEFAULT.contains(&package.name.as_str());
            let built = match gpu_build_of_pip(package) {
                None if plain && with_libraries && package.local_version().is_none() => {
                    Some(GpuBuild::Vendor(Gpu::Nvidia))
                }
                built => built,
            };
            (name.trim().to_owned(), built)
        }));
    let (mut wrong, mut libraries) = (Vec::new(), Vec::new());
    for (name, built) in all {
        match built {
            Some(GpuBuild::Vendor(vendor)) if gpu != Gpu::None && vendor != gpu => wrong.push(name),
            Some(GpuBuild::Vendor(Gpu::Nvidia) | GpuBuild::NvidiaLibraries)
                if gpu != Gpu::Nvidia =>
            {
                libraries.push(name);
            }
            _ => {}
        }
    }
    let mut findings = Vec::new();
    if !wrong.is_empty() {
        let (code, software, vendor) = match gpu {
            Gpu::Nvidia => (&code::ROCM_ON_NVIDIA, "ROCm", "NVIDIA"),
            _ => (&code::CUDA_ON_AMD, "CUDA", "AMD"),
        };
        findings.push(Finding::new(
            code,
            format!(
                "{} built for {software}, and {} has {vendor} GPUs",
                are(&wrong),
                machine.site
            ),
            location,
        ));
    } else if !libraries.is_empty() {
        findings.push(Finding::new(
            &code::CUDA_LIBRARIES,
            format!(
                "{} for NVIDIA's GPUs, and {} has none of them",
                are(&libraries),
                machine.site
            ),
            location,
        ));
    }
    findings.extend(driver::check_wheels(pip, location, machine));
    findings
}

fn are(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", some_of(&quoted))
}

fn gpu_build_of_conda(package: &CondaPackage) -> Option<GpuBuild> {
    let name = package.name.as_str();
    let build = package.build.to_lowercase();
    if build.contains("cuda") && !build.contains("nocuda")
        || matches!(name, "pytorch-cuda" | "pytorch-gpu" | "tensorflow-gpu")
    {
        return Some(GpuBuild::Vendor(Gpu::Nvidia));
    }
    if build.contains("rocm") {
        return Some(GpuBuild::Vendor(Gpu::Amd));
    }
    // `cuda-version` only names a version and has no files.
    let toolkit = name.starts_with("cuda-") && name != "cuda-version";
    (toolkit || CONDA_CUDA.contains(&name)).then_some(GpuBuild::NvidiaLibraries)
}

fn gpu_build_of_pip(package: &PipPackage) -> Option<GpuBuild> {
    let name = package.name.as_str();
    let word = |start: &str| {
        name.split('-').any(|part| {
            part.strip_prefix(start).is_some_and(|rest| {
                let digits = rest.trim_end_matches('x');
                !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
            })
        })
    };
    if let Some(local) = package.local_version() {
        if local.starts_with("rocm") {
            return Some(GpuBuild::Vendor(Gpu::Amd));
        }
        // `cu121` comes from an index of builds for CUDA, `nv24.11` from NVIDIA's own images.
        let of_nvidia = local.split('.').any(|part| {
            let digits = part.strip_prefix("cu").or(part.strip_prefix("nv"));
            digits.is_some_and(|digits| digits.starts_with(|c: char| c.is_ascii_digit()))
        });
        if of_nvidia {
            return Some(GpuBuild::Vendor(Gpu::Nvidia));
        }
    }
    if name.starts_with("nvidia-") {
        return (word("cu") || word("cuda")).then_some(GpuBuild::NvidiaLibraries);
    }
    if name.split('-').any(|part| part.starts_with("rocm")) {
        return Some(GpuBuild::Vendor(Gpu::Amd));
    }
    let by_name = word("cu") || word("cuda");
    (by_name || matches!(name, "onnxruntime-gpu" | "tensorflow-gpu" | "faiss-gpu"))
        .then_some(GpuBuild::Vendor(Gpu::Nvidia))
}

fn is_any(name: &str, libraries: &[&str]) -> bool {
    let stem = name.split(".so").next().unwrap_or(name);
    libraries.iter().any(|library| {
        stem.strip_prefix(library)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
    })
}

fn is_vendors_own(path: &Path, libraries: &[&str]) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut parts = path.components();
    is_any(&name, libraries)
        || PLUGINS.iter().any(|part| name.starts_with(part))
        || parts.any(|part| part.as_os_str() == "nvidia")
}

/// Checks the packages and indexes of a request.
pub(super) fn check_request(
    request: &Request,
    pip: &[PipPackage],
    context: &RuntimeContext,
    machine: &Machine,
) -> Vec<Finding> {
    let mut findings = check_packages(&request.conda, pip, &request.file, machine);
    let lines = || request.pip.iter().map(|line| line.trim());
    let is_option = |line: &&str| line.starts_with('-');
    let indices: Vec<&str> = lines()
        .filter(is_option)
        .filter(|line| {
            ["index-url", "-i", "find-links", "-f"].iter().any(|word| {
                line.trim_start_matches("--extra-")
                    .trim_start_matches("--")
                    .starts_with(word)
            })
        })
        .collect();
    let rocm = context.rocm.as_deref().or(machine.rocm_driver.as_deref());
    let index = rocm.map(|version| {
        let version: Vec<String> = numbers(version)
            .iter()
            .take(2)
            .map(u32::to_string)
            .collect();
        format!("https://download.pytorch.org/whl/rocm{}", version.join("."))
    });
    let fix = index.map(|index| format!("write `--extra-index-url {index}` under `pip:` and ask for its versions (`torch==…+rocm…`), or take a base image that has the framework"));
    let push = |findings: &mut Vec<Finding>, code, what: String| {
        let finding = Finding::new(code, what, &request.file);
        findings.push(match (&fix, code == &code::CUDA_ON_AMD) {
            (Some(fix), true) => finding.with_fix(fix),
            _ => finding,
        });
    };
    for line in &indices {
        match (machine.gpu, wheels_of(line)) {
            (Some(Gpu::Amd), Some(Gpu::Nvidia)) => push(
                &mut findings,
                &code::CUDA_ON_AMD,
                format!("`{line}` has wheels for CUDA"),
            ),
            (Some(Gpu::Nvidia), Some(Gpu::Amd)) => push(
                &mut findings,
                &code::ROCM_ON_NVIDIA,
                format!("`{line}` has wheels for ROCm"),
            ),
            _ => {}
        }
    }
    if machine.gpu != Some(Gpu::Amd) {
        return findings;
    }
    for line in lines().filter(|line| !is_option(line)) {
        let requirement = line.split(';').next().unwrap_or(line);
        if requirement.contains("[cuda") || requirement.contains("and-cuda]") {
            push(
                &mut findings,
                &code::CUDA_ON_AMD,
                format!("`{line}` asks for CUDA"),
            );
        }
    }
    let by_default: Vec<String> = pip
        .iter()
        .filter(|package| CUDA_BY_DEFAULT.contains(&package.name.as_str()))
        .filter(|package| package.local_version().is_none())
        .map(|package| format!("`{}`", package.name))
        .collect();
    if !by_default.is_empty() && indices.is_empty() {
        let names = some_of(&by_default);
        push(
            &mut findings,
            &code::CUDA_ON_AMD,
            format!(
                "what PyPI has as {names} is built for CUDA, and {} has AMD GPUs",
                machine.site
            ),
        );
    }
    findings
}

/// Returns the vendor that a package index such as `https://download.pytorch.org/whl/cu121` is for.
fn wheels_of(line: &str) -> Option<Gpu> {
    line.split(['/', '=', ' ']).find_map(|part| {
        let digit = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
        if part.strip_prefix("cu").is_some_and(digit) {
            Some(Gpu::Nvidia)
        } else if part.strip_prefix("rocm").is_some_and(digit) {
            Some(Gpu::Amd)
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_show_the_gpu_vendor_that_they_were_built_for() {
        let pip = |name: &str, version: &str| gpu_build_of_pip(&PipPackage::new(name, version));
        for (name, version, expected) in [
            ("torch", "2.5.1+cu121", Some(GpuBuild::Vendor(Gpu::Nvidia))),
            ("torch", "2.5.1+rocm6.2", Some(GpuBuild::Vendor(Gpu::Amd))),
            ("torch", "2.5.1+cpu", None),
            (
                "torch",
                "2.6.0a0+df5bbc09d1.nv24.11",
                Some(GpuBuild::Vendor(Gpu::Nvidia)),
            ),
            (
                "nvidia_cublas_cu12",
                "12.1",
                Some(GpuBuild::NvidiaLibraries),
            ),
            ("nvidia-ml-py", "12", None),
            ("cupy-cuda12x", "13", Some(GpuBuild::Vendor(Gpu::Nvidia))),
            (
                "jax-cuda12-plugin",
                "0.4",
                Some(GpuBuild::Vendor(Gpu::Nvidia)),
            ),
            ("tensorflow-rocm", "2.14", Some(GpuBuild::Vendor(Gpu::Amd))),
            (
                "onnxruntime-gpu",
                "1.2",
                Some(GpuBuild::Vendor(Gpu::Nvidia)),
            ),
            ("cudf-cu12", "24.4", Some(GpuBuild::Vendor(Gpu::Nvidia))),
            ("cube", "1", None),
            ("custom", "1", None),
            ("numpy", "2.0", None),
        ] {
            assert_eq!(pip(name, version), expected, "{name} {version}");
        }
        let conda = |name: &str, build: &str| {
            gpu_build_of_conda(&CondaPackage {
                name: name.to_owned(),
                build: build.to_owned(),
                ..CondaPackage::default()
            })
        };
        for (name, build, expected) in [
            (
                "pytorch",
                "cuda126_generic_py312_h1",
                Some(GpuBuild::Vendor(Gpu::Nvidia)),
            ),
            ("pytorch", "cpu_mkl_py312_h1", None),
            ("jaxlib", "cpu_py312h_nocuda", None),
            ("cuda-version", "h1_3", None),
            ("cuda-cudart", "h1_0", Some(GpuBuild::NvidiaLibraries)),
            ("pytorch", "rocm62_py312", Some(GpuBuild::Vendor(Gpu::Amd))),
            ("numpy", "py312h1", None),
        ] {
            assert_eq!(conda(name, build), expected, "{name} {build}");
        }
    }
}
