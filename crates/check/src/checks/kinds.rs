//! Tests of every kind of finding about environments: one case in which the finding must appear,
//! and a similar case in which it must not. The compiler of this machine makes the files.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, path::Path};

use super::{
    Request, request,
    testing::{Room, packed},
};
use crate::{
    Elf, Gpu, Machine, Mpi, Surroundings,
    packages::{CondaPackage, PipPackage},
};

const BESIDE: &str = "-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib";
const BESIDE_LATER: &str = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../lib";

#[test]
fn missing_library() {
    let room = Room::new();
    room.library("other/libneeded.so.1", "libneeded.so.1", &[])
        .program("bin/program", &["other/libneeded.so.1"], &[]);
    room.finds(&[]);
    fs_err::remove_file(room.path("other/libneeded.so.1")).unwrap();
    room.finds(&[("missing-library", "bin/program")]);
    // Now the base has the library.
    let mut room = room;
    room.provide("libneeded.so.1", Elf::default());
    room.finds(&[]);
}

#[test]
fn missing_library_of_a_library_that_a_program_loads() {
    let room = Room::new();
    room.library("other/libdeep.so.1", "libdeep.so.1", &[]);
    let deep = room.path("other/libdeep.so.1").display().to_string();
    room.library(
        "lib/libneeded.so.1",
        "libneeded.so.1",
        &["-Wl,--no-as-needed", &deep],
    )
    .program("bin/program", &["lib/libneeded.so.1"], &[BESIDE]);
    room.finds(&[]);
    fs_err::remove_file(deep).unwrap();
    room.finds(&[("missing-library", "lib/libneeded.so.1")]);
}

#[test]
fn missing_module_library() {
    let room = Room::new();
    room.library("other/libGL.so.1", "libGL.so.1", &[]);
    let gl = room.path("other/libGL.so.1").display().to_string();
    room.library("lib/cv2.abi3.so", "cv2", &["-Wl,--no-as-needed", &gl]);
    room.finds(&[]);
    fs_err::remove_file(gl).unwrap();
    room.finds(&[("missing-module-library", "lib/cv2.abi3.so")]);
    // Libraries of the GPU driver are never in an image.
    fs_err::remove_file(room.path("lib/cv2.abi3.so")).unwrap();
    room.library("other/libcuda.so.1", "libcuda.so.1", &[]);
    let cuda = room.path("other/libcuda.so.1").display().to_string();
    room.library("lib/cv2.abi3.so", "cv2", &["-Wl,--no-as-needed", &cuda]);
    fs_err::remove_file(cuda).unwrap();
    room.finds(&[]);
}

#[test]
fn image_codec() {
    let mut room = Room::new();
    let codes = |room: &Room| {
        let images = vec![("base.sif".to_owned(), "zstd".to_owned())];
        let around = Surroundings {
            images,
            ..room.around()
        };
        let made = super::result(&room.inventory(), &around, &room.machine);
        let asked = request(&Request::default(), &around, &room.machine);
        [made, asked].map(|findings| findings.iter().map(|it| it.code.name).collect::<Vec<_>>())
    };
    assert_eq!(codes(&room), [[""; 0]; 2]);
    room.machine.codecs = vec!["gzip".into(), "zstd".into()];
    assert_eq!(codes(&room), [[""; 0]; 2]);
    room.machine.codecs.pop();
    assert_eq!(codes(&room), [["image-codec"], ["image-codec"]]);
}

#[test]
fn a_library_that_the_site_binds_is_not_missing() {
    let room = Room::new();
    room.library("other/libcxi.so.1", "libcxi.so.1", &[])
        .program("bin/program", &["other/libcxi.so.1"], &[]);
    fs_err::remove_file(room.path("other/libcxi.so.1")).unwrap();
    room.finds(&[("missing-library", "bin/program")]);
    for (shown, expected) in [("/usr/lib64/libcxi.so.1", 0), ("/usr/lib64", 1)] {
        let around = Surroundings {
            shown: vec![shown.into()],
            ..room.around()
        };
        let findings = super::result(&room.inventory(), &around, &room.machine);
        assert_eq!(findings.len(), expected, "{findings:#?}");
    }
}

#[test]
fn glibc_too_old() {
    let mut room = Room::new();
    room.program("bin/program", &[], &[]);
    room.finds(&[]);
    let old: BTreeSet<String> = ["GLIBC_2.2.5".to_owned()].into();
    room.provide(
        "libc.so.6",
        Elf {
            defined: old,
            ..Elf::default()
        },
    );
    room.finds(&[("glibc-too-old", "bin/program")]);
    // If the C library of a base cannot be parsed, its version is compared.
    room.provide("libc.so.6", Elf::default());
    let inventory = room.inventory();
    for (glibc, expected) in [("2.17", 1), ("2.99", 0)] {
        let around = Surroundings {
            glibc: Some(glibc.to_owned()),
            ..room.around()
        };
        let findings = super::result(&inventory, &around, &room.machine);
        assert_eq!(findings.len(), expected, "{glibc}: {findings:#?}");
        assert!(
            findings.iter().all(|f| f.what.contains("2.17")),
            "{findings:#?}"
        );
    }
}

#[test]
fn symbol_version() {
    let room = Room::new();
    let versions = |text: &str| {
        room.write("v.map", text);
        format!("-Wl,--version-script={}", room.path("v.map").display())
    };
    let new = versions("FOO_1.0 { global: *; };\nFOO_2.0 { global: f2; } FOO_1.0;\n");
    let make = |script: &str, functions: &str| {
        room.compile(
            "lib/libfoo.so.1",
            functions,
            &["-shared", "-fPIC", "-Wl,-soname,libfoo.so.1", script],
        );
    };
    make(&new, "int f1(void){return 1;} int f2(void){return 2;}\n");
    let library = room.path("lib/libfoo.so.1").display().to_string();
    room.compile(
        "bin/program",
        "int f2(void); int main(void){return f2();}\n",
        &[&library, BESIDE],
    );
    room.finds(&[]);
    let old = versions("FOO_1.0 { global: *; };\n");
    make(&old, "int f1(void){return 1;}\n");
    room.finds(&[("symbol-version", "bin/program")]);
    assert!(
        room.findings()[0]
            .what
            .starts_with("FOO_2.0 of `libfoo.so.1`")
    );
    // Another library of the same name elsewhere in the environment has the version and may be the
    // one that is loaded.
    make(
        &versions("FOO_1.0 { global: *; };\nFOO_2.0 { global: f2; } FOO_1.0;\n"),
        "int f2(void){return 2;}\n",
    );
    fs_err::rename(&library, room.path("other/libfoo.so.1")).unwrap();
    make(&old, "int f1(void){return 1;}\n");
    room.finds(&[]);
}

fn mpi_room(soname: &str, how: &str) -> Room {
    let room = Room::new();
    room.library(&format!("lib/{soname}"), soname, &[]).program(
        "bin/simulation",
        &[&format!("lib/{soname}")],
        &[how],
    );
    room
}

#[test]
fn mpi_abi() {
    let mut room = mpi_room("libmpi.so.40", BESIDE_LATER);
    room.finds(&[]);
    room.machine.mpi = Some(Mpi::OpenMpi);
    room.finds(&[]);
    room.machine.mpi = Some(Mpi::Mpich);
    room.finds(&[("mpi-abi", "bin/simulation")]);
    // The MPI of the site is not known, and the base has another MPI: the environment's own MPI
    // runs.
    room.machine.mpi = None;
    let with_base = |room: &Room| {
        let around = Surroundings {
            mpi: vec![Mpi::Mpich],
            ..room.around()
        };
        let findings = super::result(&room.inventory(), &around, &room.machine);
        findings.iter().map(|f| f.code.name).collect::<Vec<_>>()
    };
    assert_eq!(with_base(&room), Vec::<&str>::new());
    fs_err::remove_file(room.path("lib/libmpi.so.40")).unwrap();
    assert_eq!(with_base(&room), ["missing-library", "mpi-abi"]);
}

#[test]
fn the_hosts_mpi_is_not_missing() {
    let mut room = mpi_room("libmpi.so.12", BESIDE_LATER);
    fs_err::remove_file(room.path("lib/libmpi.so.12")).unwrap();
    room.finds(&[("missing-library", "bin/simulation")]);
    room.machine.mpi = Some(Mpi::Mpich);
    room.finds(&[]);
}

#[test]
fn mpi_mixed() {
    let room = mpi_room("libmpi.so.40", BESIDE_LATER);
    room.finds(&[]);
    room.library("lib/libmpi.so.12", "libmpi.so.12", &[])
        .program("bin/other", &["lib/libmpi.so.12"], &[BESIDE_LATER]);
    room.finds(&[("mpi-mixed", "bin/other and bin/simulation")]);
}

/// Checks the files that an update adds against the files that stay in the image below.
#[test]
fn mpi_mixed_with_what_stays() {
    for (soname, other) in [
        ("libmpi.so.40", "libmpi.so.12"),
        ("libmpi.so.12", "libmpi.so.40"),
    ] {
        let old = mpi_room(soname, BESIDE_LATER);
        let (_out, reader) = packed(&old.path("."));
        let new = |soname: &str| {
            let room = Room::new();
            room.library(&format!("other/{soname}"), soname, &[]);
            let library = room.path(&format!("other/{soname}")).display().to_string();
            let words = ["-Wl,--no-as-needed", &library];
            room.library("lib/_solver.so", "solver", &words);
            room
        };
        let codes = |room: &Room, gone: &[&str]| {
            let gone = gone.iter().map(|name| Path::new("/env").join(name));
            let inventory = room.inventory().put_onto(&reader, &gone.collect()).unwrap();
            let findings = super::result(&inventory, &room.around(), &room.machine);
            let found = findings.into_iter().map(|f| (f.code.name, f.seen));
            found.collect::<Vec<_>>()
        };
        assert_eq!(codes(&new(soname), &[]), []);
        let seen = "lib/_solver.so and bin/simulation".to_owned();
        assert_eq!(codes(&new(other), &[]), [("mpi-mixed", seen)]);
        // The update replaces the file of the image.
        assert_eq!(codes(&new(other), &["bin/simulation"]), []);
        // Files that stay were judged when they were added: no new file uses MPI.
        let mut plain = Room::new();
        plain.program("bin/program", &[], &[]);
        plain.machine.mpi = Mpi::of_library(other);
        assert_eq!(codes(&plain, &[]), []);
    }
}

/// mpi4py's wheels have modules for both MPIs, and mpi4py loads the one that fits.
#[test]
fn modules_for_either_mpi_are_not_mixed() {
    let mut room = mpi_room("libmpi.so.40", BESIDE_LATER);
    fs_err::remove_file(room.path("bin/simulation")).unwrap();
    room.library("lib/libmpi.so.12", "libmpi.so.12", &[]);
    for (name, library) in [
        ("lib/MPI.mpich.abi3.so", "lib/libmpi.so.12"),
        ("lib/MPI.openmpi.abi3.so", "lib/libmpi.so.40"),
    ] {
        let library = room.path(library).display().to_string();
        room.library(name, "MPI", &["-Wl,--no-as-needed", &library]);
    }
    room.finds(&[]);
    fs_err::remove_file(room.path("lib/libmpi.so.40")).unwrap();
    room.machine.mpi = Some(Mpi::Mpich);
    room.finds(&[]);
    // Without the other module, the module is judged by the MPI that it needs.
    fs_err::remove_file(room.path("lib/MPI.mpich.abi3.so")).unwrap();
    room.finds(&[
        ("missing-module-library", "lib/MPI.openmpi.abi3.so"),
        ("mpi-abi", "lib/MPI.openmpi.abi3.so"),
    ]);
}

#[test]
fn mpi_pinned() {
    let mut room = mpi_room("libmpi.so.12", BESIDE);
    // On the user's own machine the use of the bundled MPI is intended.
    room.finds(&[]);
    room.machine.mpi = Some(Mpi::Mpich);
    room.finds(&[("mpi-pinned", "bin/simulation")]);
    // The dynamic linker searches RUNPATH after LD_LIBRARY_PATH.
    let mut room = mpi_room("libmpi.so.12", BESIDE_LATER);
    room.machine.mpi = Some(Mpi::Mpich);
    room.finds(&[]);
    // Libraries that auditwheel has put into a wheel have unique names.
    let mut room = mpi_room("libmpi-3f1e5b7a.so.12.3.1", BESIDE_LATER);
    room.machine.mpi = Some(Mpi::Mpich);
    room.finds(&[("mpi-pinned", "bin/simulation")]);
}

#[test]
fn cuda_on_amd_and_rocm_on_nvidia_by_what_is_linked() {
    for (soname, wrong, right, code) in [
        ("libcudart.so.12", Gpu::Amd, Gpu::Nvidia, "cuda-on-amd"),
        ("libamdhip64.so.6", Gpu::Nvidia, Gpu::Amd, "rocm-on-nvidia"),
    ] {
        let mut room = Room::new();
        room.library(&format!("other/{soname}"), soname, &[])
            .program("bin/train", &[&format!("other/{soname}")], &[]);
        room.finds(&[]);
        room.machine.gpu = Some(right);
        room.finds(&[]);
        room.machine.gpu = Some(wrong);
        room.finds(&[(code, "bin/train")]);
        // A program works without this plugin.
        fs_err::rename(room.path("bin/train"), room.path("other/libuct_x.so.0")).unwrap();
        room.finds(&[]);
    }
}

#[test]
fn cuda_on_amd_by_packages() {
    let directory = "lib/python3.12/site-packages";
    let mut room = Room::new();
    room.machine.gpu = Some(Gpu::Amd);
    room.write(
        &format!("{directory}/torch-2.5.1+rocm6.2.dist-info/WHEEL"),
        "",
    );
    room.finds(&[]);
    room.write(
        &format!("{directory}/cupy_cuda12x-13.0.dist-info/WHEEL"),
        "",
    );
    room.finds(&[("cuda-on-amd", "packages")]);
    room.machine.gpu = Some(Gpu::Nvidia);
    room.finds(&[("rocm-on-nvidia", "packages")]);
    // These are conda builds for CPU and for CUDA.
    let mut room = Room::new();
    room.machine.gpu = Some(Gpu::Amd);
    let record =
        |build: &str| format!(r#"{{"name": "pytorch", "version": "2.5", "build": "{build}"}}"#);
    room.write("conda-meta/pytorch.json", &record("cpu_mkl_h1"));
    room.finds(&[]);
    room.write("conda-meta/pytorch.json", &record("cuda126_h1"));
    room.finds(&[("cuda-on-amd", "packages")]);
}

#[test]
fn cuda_libraries() {
    let mut room = Room::new();
    room.write("lib/nvidia_nccl_cu12-2.2.dist-info/WHEEL", "");
    for (gpu, expected) in [
        (None, &[][..]),
        (Some(Gpu::Nvidia), &[]),
        (Some(Gpu::Amd), &[("cuda-libraries", "packages")]),
        (Some(Gpu::None), &[("cuda-libraries", "packages")]),
    ] {
        room.machine.gpu = gpu;
        room.finds(expected);
    }
    // The version of PyPI's PyTorch has no tag, but NVIDIA's libraries are installed beside it.
    room.machine.gpu = Some(Gpu::Amd);
    room.write("lib/torch-2.5.1.dist-info/WHEEL", "");
    room.finds(&[("cuda-on-amd", "packages")]);
}

#[test]
fn cuda_libraries_and_rocm_libraries_of_a_base() {
    let mut room = Room::new();
    let inventory = room.inventory();
    let mut codes = |gpu: Option<Gpu>, rocm: Option<&str>, cuda: Option<&str>| {
        room.machine.gpu = gpu;
        let around = Surroundings {
            rocm: rocm.map(str::to_owned),
            cuda: cuda.map(str::to_owned),
            ..room.around()
        };
        let made = super::result(&inventory, &around, &room.machine);
        let asked = request(&Request::default(), &around, &room.machine);
        assert_eq!(made, asked);
        assert!(made.iter().all(|finding| finding.seen == "the base image"));
        made.iter().map(|f| f.code.name).collect::<Vec<_>>()
    };
    let (none, of_cuda, of_rocm) = (&[][..], &["cuda-libraries"][..], &["rocm-libraries"][..]);
    for (gpu, on_rocm, on_cuda) in [
        (None, none, none),
        (Some(Gpu::Amd), none, of_cuda),
        (Some(Gpu::Nvidia), of_rocm, none),
        (Some(Gpu::None), of_rocm, of_cuda),
    ] {
        assert_eq!(codes(gpu, Some("6.2.4"), None), on_rocm, "{gpu:?}");
        assert_eq!(codes(gpu, None, Some("12.4")), on_cuda, "{gpu:?}");
        // A base with both suits either vendor, and a base with neither suits all.
        assert_eq!(codes(gpu, Some("6.2.4"), Some("12.4")), none, "{gpu:?}");
        assert_eq!(codes(gpu, None, None), none, "{gpu:?}");
    }
}

#[test]
fn gpu_driver_range() {
    let mut room = Room::new();
    room.machine.gpu = Some(Gpu::Amd);
    room.machine.rocm_driver = Some("6.3.4".to_owned());
    let inventory = room.inventory();
    for (rocm, expected) in [("6.2.4", 0), ("5.6.1", 1)] {
        let around = Surroundings {
            rocm: Some(rocm.to_owned()),
            ..room.around()
        };
        let findings = super::result(&inventory, &around, &room.machine);
        assert_eq!(findings.len(), expected, "{findings:#?}");
        assert!(
            findings
                .iter()
                .all(|finding| finding.code.name == "gpu-driver-range")
        );
    }
    room.write("lib/torch-2.5.1+rocm5.6.dist-info/WHEEL", "");
    room.finds(&[("gpu-driver-range", "packages: torch 2.5.1+rocm5.6")]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn cpu_level() {
    let mut room = Room::new();
    room.program("bin/fast", &[], &["-Wl,-z,x86-64-v4"]);
    room.finds(&[]);
    room.machine.cpu_level = Some(4);
    room.finds(&[]);
    room.machine.cpu_level = Some(3);
    room.finds(&[("cpu-level", "bin/fast")]);
    assert!(room.findings()[0].what.contains("v4"));
    let package = |version: &str| {
        let level = CondaPackage {
            name: "_x86_64-microarch-level".to_owned(),
            version: version.to_owned(),
            ..CondaPackage::default()
        };
        super::packages(&[level], &[], "the solution", &room.machine).len()
    };
    assert_eq!((package("3"), package("4")), (0, 1));
}

#[test]
fn wrong_architecture() {
    let room = Room::new();
    room.program("bin/program", &[], &[]);
    room.finds(&[]);
    let mut bytes = fs_err::read(room.path("bin/program")).unwrap();
    // Byte 18 holds the number of the processor: this sets another one than this machine's.
    bytes[18] = if cfg!(target_arch = "x86_64") {
        183
    } else {
        62
    };
    fs_err::write(room.path("bin/program"), bytes).unwrap();
    room.finds(&[("wrong-architecture", "bin/program")]);
    // Files for other machines may be in directories from which they are chosen by path.
    fs_err::create_dir_all(room.path("prebuilds/other-arch")).unwrap();
    fs_err::rename(
        room.path("bin/program"),
        room.path("prebuilds/other-arch/x.node"),
    )
    .unwrap();
    room.finds(&[]);
    // The base is for another architecture than the site.
    let mut room = room;
    room.machine.architecture = Some("riscv64".to_owned());
    room.finds(&[("wrong-architecture", "the base image")]);
}

#[test]
fn python_missing() {
    let mut room = Room::new();
    room.write("venv/pyvenv.cfg", "home = /usr/bin\nversion = 3.11.2\n");
    room.finds(&[("python-missing", "venv/pyvenv.cfg")]);
    room.have("/usr/bin/python3.12");
    room.finds(&[("python-missing", "venv/pyvenv.cfg")]);
    room.have("/usr/bin/python3.11");
    room.finds(&[]);
}

#[test]
fn channel_terms() {
    let room = Room::new();
    let record =
        |channel: &str| format!(r#"{{"name": "mkl", "version": "1", "channel": "{channel}"}}"#);
    room.write(
        "conda-meta/mkl.json",
        &record("https://conda.anaconda.org/conda-forge/"),
    );
    room.finds(&[]);
    room.write(
        "conda-meta/mkl.json",
        &record("https://repo.anaconda.com/pkgs/main"),
    );
    room.finds(&[("channel-terms", "mkl")]);
}

#[test]
fn moving_link() {
    let room = Room::new();
    let link = |target: &str| {
        let path = room.path("lib/data");
        let _ = fs_err::remove_file(&path);
        std::os::unix::fs::symlink(target, path).unwrap();
    };
    for target in ["../other", "/env/other", "/usr/share/data"] {
        link(target);
        room.finds(&[]);
    }
    link("/scratch/project/data");
    room.finds(&[("moving-link", "lib/data -> /scratch/project/data")]);
    link("../other");
    let around = Surroundings {
        linked: Some("/appl/base.sif".to_owned()),
        ..room.around()
    };
    let findings = super::result(&room.inventory(), &around, &room.machine);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].seen, "container.sif");
}

fn asked(pip: &[&str], channels: &[&str]) -> Request {
    Request {
        file: "env.yml".to_owned(),
        channels: channels.iter().map(|&c| c.to_owned()).collect(),
        pip: pip.iter().map(|&l| l.to_owned()).collect(),
        ..Request::default()
    }
}

#[track_caller]
fn asks(request_: &Request, machine: &Machine, expected: &[&str]) {
    let findings = request(request_, &Surroundings::default(), machine);
    let found: Vec<&str> = findings.iter().map(|finding| finding.code.name).collect();
    assert_eq!(found, expected, "{findings:#?}");
}

#[test]
fn requests_for_pip_are_checked_by_name_and_tag() {
    let amd = Machine {
        gpu: Some(Gpu::Amd),
        rocm_driver: Some("6.3.4".to_owned()),
        ..Machine::default()
    };
    let nvidia = Machine {
        gpu: Some(Gpu::Nvidia),
        ..Machine::default()
    };
    let rocm = "--extra-index-url https://download.pytorch.org/whl/rocm6.2";
    let cuda = "--index-url=https://download.pytorch.org/whl/cu121";
    for (lines, on_amd, on_nvidia) in [
        (&["torch==2.5.1"][..], &["cuda-on-amd"][..], &[][..]),
        (&["torch==2.5.1+cpu"], &[], &[]),
        (&[rocm, "torch==2.5.1"], &[], &["rocm-on-nvidia"]),
        (
            &[rocm, "torch==2.5.1+rocm6.2"],
            &[],
            &["rocm-on-nvidia", "rocm-on-nvidia"],
        ),
        (&[cuda, "torch"], &["cuda-on-amd"], &[]),
        (&["torch==2.5.1+cu121"], &["cuda-on-amd"], &[]),
        (&["jax[cuda12]"], &["cuda-on-amd"], &[]),
        (&["tensorflow[and-cuda]==2.17"], &["cuda-on-amd"], &[]),
        (&["cupy-cuda12x"], &["cuda-on-amd"], &[]),
        (&["nvidia-cublas-cu12"], &["cuda-libraries"], &[]),
        (
            &["torch==2.1+rocm5.6", rocm],
            &["gpu-driver-range"],
            &["rocm-on-nvidia", "rocm-on-nvidia"],
        ),
        (&["numpy", "mpi4py"], &[], &[]),
    ] {
        asks(&asked(lines, &[]), &amd, on_amd);
        asks(&asked(lines, &[]), &nvidia, on_nvidia);
        asks(&asked(lines, &[]), &Machine::default(), &[]);
    }
    let findings = request(&asked(&["torch"], &[]), &Surroundings::default(), &amd);
    assert!(findings[0].fix.contains("whl/rocm6.3"), "{findings:#?}");
}

#[test]
fn requests_for_conda_are_checked_by_name_and_build() {
    let amd = Machine {
        gpu: Some(Gpu::Amd),
        ..Machine::default()
    };
    let package = |name: &str, build: &str| Request {
        conda: vec![CondaPackage {
            name: name.to_owned(),
            build: build.to_owned(),
            ..CondaPackage::default()
        }],
        ..asked(&[], &["conda-forge"])
    };
    asks(&package("pytorch", "*cuda*"), &amd, &["cuda-on-amd"]);
    asks(&package("pytorch-cuda", ""), &amd, &["cuda-on-amd"]);
    asks(&package("pytorch", "*cpu*"), &amd, &[]);
    asks(&package("pytorch", ""), &amd, &[]);
}

#[test]
fn channels_and_sources_of_a_file() {
    let machine = Machine::default();
    asks(
        &asked(&[], &["https://conda.anaconda.org/conda-forge/"]),
        &machine,
        &[],
    );
    asks(
        &asked(&[], &["defaults", "conda-forge"]),
        &machine,
        &["channel-terms"],
    );
    asks(
        &asked(&["git+https://h/x.git@0123456789"], &[]),
        &machine,
        &[],
    );
    asks(
        &asked(&["git+https://h/x.git"], &[]),
        &machine,
        &["moving-source"],
    );
    let around = Surroundings {
        moving: Some("docker://ubuntu:latest".to_owned()),
        ..Surroundings::default()
    };
    let findings = request(&asked(&[], &[]), &around, &machine);
    assert_eq!(findings.len(), 1);
    assert!(findings[0].what.contains("ubuntu:latest"));
}

#[test]
fn solved_packages_are_checked_before_they_are_downloaded() {
    let amd = Machine {
        gpu: Some(Gpu::Amd),
        ..Machine::default()
    };
    let pip = [
        PipPackage::new("torch", "2.5.1"),
        PipPackage::new("nvidia-nccl-cu12", "2"),
    ];
    let names = |pip: &[PipPackage]| {
        let findings = super::packages(&[], pip, "pip", &amd);
        findings.iter().map(|f| f.code.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&pip), ["cuda-on-amd"]);
    assert_eq!(names(&pip[..1]), Vec::<&str>::new());
}
