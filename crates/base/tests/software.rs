//! Tests of finding the software of bases, with generated directory trees and with the libraries of
//! Debian's two MPIs.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use condense_base::{BaseFacts, BaseImage, MpiAbi};

struct Tree(tempfile::TempDir);

impl Tree {
    /// Creates a tree with just enough files to be a root file system.
    fn new() -> Tree {
        let tree = Tree(tempfile::tempdir().unwrap());
        tree.file("usr/bin/true", "");
        tree
    }

    fn file(&self, name: &str, contents: &str) -> &Tree {
        let path = self.0.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, contents).unwrap();
        self
    }

    fn link(&self, name: &str, target: &str) -> &Tree {
        let path = self.0.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    fn facts(&self) -> BaseFacts {
        facts(self.0.path())
    }
}

fn facts(path: &Path) -> BaseFacts {
    BaseImage::open(path.to_str().unwrap())
        .unwrap()
        .facts()
        .unwrap()
}

#[test]
fn rocm_by_its_file_and_by_its_directory() {
    let tree = Tree::new();
    tree.file("opt/rocm-6.2.4/.info/version", "6.2.4-140\n")
        .link("opt/rocm", "/etc/alternatives/rocm")
        .link("etc/alternatives/rocm", "/opt/rocm-6.2.4");
    assert_eq!(tree.facts().rocm.as_deref(), Some("6.2.4"));
    let tree = Tree::new();
    tree.file("opt/rocm-5.7.3/lib/librocm.so", "");
    assert_eq!(tree.facts().rocm.as_deref(), Some("5.7.3"));
    assert_eq!(tree.facts().cuda, None);
    assert_eq!(Tree::new().facts().rocm, None);
}

#[test]
fn cuda_by_its_files_its_directory_and_its_variable() {
    for (name, text, expected) in [
        (
            "usr/local/cuda-12.4/version.json",
            r#"{"cuda": {"name": "CUDA SDK", "version": "12.4.1"}}"#,
            "12.4",
        ),
        (
            "usr/local/cuda-12.4/version.txt",
            "CUDA Version 10.2.89\n",
            "10.2",
        ),
        ("usr/local/cuda-12.4/lib64/x", "", "12.4"),
    ] {
        let tree = Tree::new();
        tree.file(name, text).link("usr/local/cuda", "cuda-12.4");
        assert_eq!(tree.facts().cuda.as_deref(), Some(expected), "{name}");
        assert_eq!(tree.facts().rocm, None);
    }
    for (name, text, expected) in [
        (
            ".singularity.d/env/10-docker2singularity.sh",
            "export PATH=\"/usr/bin\"\nexport CUDA_VERSION=\"${CUDA_VERSION:-\"11.8.0\"}\"\n",
            Some("11.8"),
        ),
        // NVIDIA's own images use this format. Other values give no version.
        (
            ".singularity.d/env/10-docker2singularity.sh",
            "export NVIDIA_REQUIRE_CUDA=\"${NVIDIA_REQUIRE_CUDA:-\"cuda>=12.4 brand=tesla,driver>=470,driver<471\"}\"\n",
            Some("12.4"),
        ),
        (
            ".singularity.d/env/10-docker2singularity.sh",
            "export NVIDIA_REQUIRE_CUDA=\"cuda>=${CUDA_LITE}\"\nexport NVIDIA_VISIBLE_DEVICES=\"all\"\n",
            None,
        ),
        (
            ".singularity.d/labels.json",
            r#"{"com.nvidia.cuda.version": "8.0.61"}"#,
            Some("8.0.61"),
        ),
        ("usr/lib/x86_64-linux-gnu/libcudart.so.11.0", "", Some("11")),
        ("usr/lib/x86_64-linux-gnu/libcudart.so", "", None),
    ] {
        let tree = Tree::new();
        tree.file(name, text);
        assert_eq!(tree.facts().cuda.as_deref(), expected, "{name} {text}");
    }
}

#[test]
fn conda_and_how_it_is_activated() {
    let tree = Tree::new();
    tree.file("opt/miniconda3/conda-meta/history", "")
        .file("opt/miniconda3/lib/python3.12/os.py", "")
        .file("opt/miniconda3/envs/pytorch/bin/python", "")
        .file("opt/miniconda3/envs/.conda_envs_dir_test", "")
        .file("opt/miniconda3/lib/libmpi.so.12", "")
        .file(
            ".singularity.d/env/90-environment.sh",
            "#!/bin/sh\nexport WITH_CONDA=\"source /opt/miniconda3/bin/activate pytorch\"\n",
        );
    let facts = tree.facts();
    let conda = facts.conda.unwrap();
    assert_eq!(conda.prefix, Path::new("/opt/miniconda3"));
    assert_eq!(conda.environments, ["pytorch"]);
    assert_eq!(conda.python.as_deref(), Some("3.12"));
    let activates = "source /opt/miniconda3/bin/activate pytorch";
    assert_eq!(facts.with_conda.as_deref(), Some(activates));
    assert_eq!(
        facts.mpi[0].path,
        Path::new("/opt/miniconda3/lib/libmpi.so.12")
    );
    let without = Tree::new().facts();
    assert_eq!((without.conda, without.with_conda), (None, None));
}

#[test]
fn mpi_and_the_fabric_wherever_the_linker_looks() {
    let tree = Tree::new();
    tree.file("etc/ld.so.conf.d/mpich.conf", "# mine\n/srv/mpich/lib\n")
        .file("srv/mpich/lib/libmpi.so.12.3.1", "")
        .link("srv/mpich/lib/libmpi.so.12", "libmpi.so.12.3.1")
        .file("opt/ompi/lib/libmpi.so.40", "")
        .file("usr/lib64/libfabric.so.1", "")
        .link("lib64", "usr/lib64")
        .file("usr/lib64/libcxi.so.1", "")
        .file("opt/aws-ofi-rccl/lib/librccl-net.so", "");
    let facts = tree.facts();
    let found: Vec<(&str, MpiAbi)> = facts
        .mpi
        .iter()
        .map(|mpi| (mpi.path.to_str().unwrap(), mpi.abi))
        .collect();
    assert_eq!(
        found,
        [
            ("/srv/mpich/lib/libmpi.so.12", MpiAbi::Mpich),
            ("/opt/ompi/lib/libmpi.so.40", MpiAbi::OpenMpi),
        ]
    );
    assert_eq!(
        [facts.libfabric, facts.cxi, facts.collectives_plugin],
        [
            Some(PathBuf::from("/usr/lib64/libfabric.so.1")),
            Some("/usr/lib64/libcxi.so.1".into()),
            Some("/opt/aws-ofi-rccl/lib/librccl-net.so".into()),
        ]
    );
}

/// Debian's own packages are packed into an image, as in a .sif file.
#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn the_mpis_of_debian_are_told_apart() {
    let parts = std::env::var_os("CONDENSE_TEST_PARTS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-parts"),
        PathBuf::from,
    );
    for (name, abi) in [("mpich", MpiAbi::Mpich), ("openmpi", MpiAbi::OpenMpi)] {
        let root = parts.join("mpi").join(name);
        assert!(
            root.is_dir(),
            "no {}: run scripts/setup-tests as root",
            root.display()
        );
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("base.sqfs");
        let tree =
            condense_image::Tree::scan(&root, &condense_image::ScanOptions::default()).unwrap();
        condense_image::pack(&tree, &image, &condense_image::PackOptions::default()).unwrap();
        let facts = facts(&image);
        assert_eq!(facts.mpi.len(), 1, "{name}: {:?}", facts.mpi);
        assert_eq!(facts.mpi[0].abi, abi, "{name}");
        assert_eq!(facts.size_bytes, Some(image.metadata().unwrap().len()));
    }
}
