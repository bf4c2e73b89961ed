//! Tests with machines that are trees of files: for every finding one case in which it must appear,
//! and one in which it must not.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::machine::Mpi;

struct Tree(tempfile::TempDir);

impl Tree {
    /// Creates a machine without any problem.
    fn well() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        tree.file("proc/self/ns/user", "")
            .file("proc/sys/user/max_user_namespaces", "100000\n")
            .file(
                "proc/filesystems",
                "nodev\tproc\n\tsquashfs\nnodev\toverlay\n",
            )
            .file(
                "proc/meminfo",
                "MemTotal:       65536000 kB\nMemFree: 1 kB\n",
            )
            .file("proc/self/cgroup", "0::/user.slice/session\n")
            .file("sys/fs/cgroup/user.slice/session/memory.max", "max\n")
            .file("dev/fuse", "")
            .file("usr/bin/squashfuse", "")
            .file("dev/loop-control", "");
        tree
    }

    fn file(&self, name: &str, text: &str) -> &Self {
        let path = self.0.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
        self
    }

    fn without(&self, name: &str) -> &Self {
        let path = self.0.path().join(name);
        if path.is_dir() {
            fs_err::remove_dir_all(path).unwrap();
        } else {
            fs_err::remove_file(path).unwrap();
        }
        self
    }

    fn host(&self) -> Host {
        Host {
            root: self.0.path().to_owned(),
            runtime: Some(Runtime {
                name: "apptainer 1.4.5".to_owned(),
                setuid: false,
                prefix: Some("/opt/apptainer".into()),
            }),
            is_root: false,
            build_dirs: vec![build_dir(50 << 30, Some(1_000_000))],
            quotas: Vec::new(),
            site_is_known: true,
            search_path: vec!["/usr/bin".into()],
            starts: Starts::default(),
        }
    }
}

fn build_dir(free_bytes: u64, free_inodes: Option<u64>) -> BuildDir {
    BuildDir {
        name: "scratch",
        path: "/tmp".into(),
        free_bytes,
        free_inodes,
        is_scratch: true,
        in_memory: false,
    }
}

fn setuid() -> Runtime {
    Runtime {
        name: "singularity-ce 4.1.5".to_owned(),
        setuid: true,
        prefix: Some("/usr".into()),
    }
}

#[track_caller]
fn finds(host: &Host, machine: &Machine, expected: &[&str]) {
    let health = examine(host, machine);
    let found: Vec<&str> = health.findings.iter().map(|f| f.code.name).collect();
    assert_eq!(found, expected, "{health:#?}");
}

fn fact(host: &Host, machine: &Machine, name: &str) -> String {
    let facts = examine(host, machine).facts;
    facts
        .into_iter()
        .find(|(known, _)| *known == name)
        .unwrap()
        .1
}

#[test]
fn a_machine_on_which_everything_is_well() {
    let tree = Tree::well();
    let none = Machine::default();
    finds(&tree.host(), &none, &[]);
    assert_eq!(fact(&tree.host(), &none, "fuse"), "yes");
    assert_eq!(fact(&tree.host(), &none, "memory"), "62.5 GiB");
    let unknown = Host {
        site_is_known: false,
        ..tree.host()
    };
    finds(&unknown, &none, &["site-unknown"]);
}

#[test]
fn runtimes_and_what_they_need() {
    let tree = Tree::well();
    let none = Machine::default();
    let with = |runtime: Option<Runtime>, is_root| Host {
        runtime,
        is_root,
        ..tree.host()
    };
    let unprivileged = || tree.host().runtime;
    finds(&with(None, false), &none, &["no-runtime"]);
    tree.without("dev/fuse");
    finds(&with(unprivileged(), false), &none, &["no-fuse"]);
    finds(&with(unprivileged(), true), &none, &[]);
    finds(&with(Some(setuid()), false), &none, &[]);
    tree.without("dev/loop-control");
    finds(&with(Some(setuid()), false), &none, &["no-loop"]);
    finds(&with(unprivileged(), true), &none, &["no-loop"]);
    tree.file("dev/fuse", "");
    finds(&with(unprivileged(), false), &none, &[]);
}

#[test]
fn user_namespaces() {
    let none = Machine::default();
    for (name, text) in [
        ("proc/sys/user/max_user_namespaces", "0\n"),
        ("proc/sys/kernel/unprivileged_userns_clone", "0\n"),
    ] {
        let tree = Tree::well();
        tree.file(name, text);
        finds(&tree.host(), &none, &["no-namespaces"]);
        finds(
            &Host {
                runtime: Some(setuid()),
                ..tree.host()
            },
            &none,
            &[],
        );
    }
    let tree = Tree::well();
    tree.without("proc/self/ns/user");
    finds(&tree.host(), &none, &["no-namespaces"]);
}

#[test]
fn overlay() {
    let tree = Tree::well();
    let none = Machine::default();
    tree.file("proc/filesystems", "nodev\tproc\n\tsquashfs\n");
    finds(&tree.host(), &none, &["no-overlay"]);
    // The kernel loads this module at its first use.
    tree.file("proc/sys/kernel/osrelease", "6.1.0\n").file(
        "lib/modules/6.1.0/modules.dep",
        "kernel/fs/overlayfs/overlay.ko:\n",
    );
    finds(&tree.host(), &none, &[]);
}

#[test]
fn memory_of_a_session() {
    let tree = Tree::well();
    let none = Machine::default();
    tree.file(
        "sys/fs/cgroup/user.slice/session/memory.max",
        "8589934592\n",
    );
    finds(&tree.host(), &none, &[]);
    // The parent group may have a smaller limit.
    tree.file("sys/fs/cgroup/user.slice/memory.max", "2147483648\n");
    finds(&tree.host(), &none, &["memory-limit"]);
    assert!(fact(&tree.host(), &none, "memory").ends_with("2.0 GiB for this session"));
    // This machine uses version 1 of control groups.
    let tree = Tree::well();
    tree.file(
        "proc/self/cgroup",
        "3:cpu,memory:/slurm/job\n1:name=systemd:/\n",
    )
    .file(
        "sys/fs/cgroup/memory/memory.limit_in_bytes",
        "9223372036854771712\n",
    );
    finds(&tree.host(), &none, &[]);
    tree.file(
        "sys/fs/cgroup/memory/slurm/job/memory.limit_in_bytes",
        "1073741824\n",
    );
    finds(&tree.host(), &none, &["memory-limit"]);
    let tree = Tree::well();
    tree.file("proc/meminfo", "MemTotal: 2048000 kB\n");
    finds(&tree.host(), &none, &["memory-limit"]);
}

#[test]
fn room_for_a_build() {
    let tree = Tree::well();
    let none = Machine::default();
    for (build_dir, expected) in [
        (build_dir(1 << 30, Some(1_000_000)), &["little-space"][..]),
        (build_dir(50 << 30, Some(5_000)), &["few-inodes"]),
        (build_dir(50 << 30, None), &[]),
        (
            BuildDir {
                is_scratch: false,
                ..build_dir(1, Some(1))
            },
            &[],
        ),
    ] {
        finds(
            &Host {
                build_dirs: vec![build_dir],
                ..tree.host()
            },
            &none,
            expected,
        );
    }
}

#[test]
fn quotas() {
    let linux = "Disk quotas for user me (uid 1000): \n     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace\n      /dev/sda1  1000  0  0   0      12       0       0       0\n";
    let lustre = " /scratch  9900000*  9000000 10000000 - 50 0 100000 -\n";
    let few = "/home 1 0 10 - 990 0 1000 -\n";
    let tree = Tree::well();
    for (text, expected) in [
        (linux, &[][..]),
        (lustre, &["quota"]),
        (few, &["quota"]),
        ("no\n", &[]),
    ] {
        let host = Host {
            quotas: parse_quotas(text),
            ..tree.host()
        };
        finds(&host, &Machine::default(), expected);
    }
    let read = parse_quotas(lustre);
    assert_eq!(read[0].bytes, (9_900_000 << 10, 9_000_000 << 10));
    assert_eq!(parse_quotas(linux)[0].name, "/dev/sda1");
}

fn site(gpu: Gpu) -> Machine {
    Machine {
        site: "here".to_owned(),
        gpu: Some(gpu),
        rocm_driver: Some("6.3.4".to_owned()),
        cuda_driver: Some("12.2".to_owned()),
        ..Machine::default()
    }
}

#[test]
fn gpus_of_amd() {
    let tree = Tree::well();
    finds(&tree.host(), &site(Gpu::Amd), &["no-gpu"]);
    finds(&tree.host(), &site(Gpu::None), &[]);
    let nodes = "sys/class/kfd/kfd/topology/nodes";
    tree.file(&format!("{nodes}/0/gpu_id"), "0\n")
        .file(&format!("{nodes}/1/gpu_id"), "4711\n")
        .file(&format!("{nodes}/2/gpu_id"), "4712\n")
        .file("dev/kfd", "")
        .file("sys/module/amdgpu/version", "6.10.5\n");
    finds(&tree.host(), &site(Gpu::Amd), &[]);
    assert_eq!(fact(&tree.host(), &site(Gpu::Amd), "gpus"), "2 AMD GPUs");
    assert_eq!(
        fact(&tree.host(), &site(Gpu::Amd), "amdgpu driver"),
        "6.10.5 (ROCm 6.3)"
    );
    finds(&tree.host(), &site(Gpu::Nvidia), &["no-gpu"]);
    tree.file("sys/module/amdgpu/version", "6.8.5\n");
    finds(&tree.host(), &site(Gpu::Amd), &["driver-differs"]);
    // A directory represents a device that cannot be opened, because root may open every file.
    tree.without("dev/kfd").file("dev/kfd/x", "");
    tree.file("sys/module/amdgpu/version", "6.10.5\n");
    finds(&tree.host(), &site(Gpu::Amd), &["gpu-access"]);
}

#[test]
fn gpus_of_nvidia() {
    let tree = Tree::well();
    let version = |number: &str| {
        format!(
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {number}  Thu Dec 28 20:37:07 UTC 2023\nGCC version: 12.3.0\n"
        )
    };
    tree.file("proc/driver/nvidia/gpus/0000:07:00.0/information", "")
        .file("dev/nvidiactl", "")
        .file("proc/driver/nvidia/version", &version("535.154.05"));
    finds(&tree.host(), &site(Gpu::Nvidia), &[]);
    assert_eq!(
        fact(&tree.host(), &site(Gpu::Nvidia), "gpus"),
        "1 NVIDIA GPU"
    );
    assert_eq!(cuda_of_driver(tree.0.path()), Some("12.2"));
    assert_eq!(cuda_of_driver(Tree::well().0.path()), None);
    tree.file("proc/driver/nvidia/version", &version("570.86.10"));
    finds(&tree.host(), &site(Gpu::Nvidia), &["driver-differs"]);
}

#[test]
fn the_network() {
    let tree = Tree::well();
    let machine = Machine {
        mpi: Some(Mpi::Mpich),
        ..Machine::default()
    };
    finds(&tree.host(), &machine, &["no-fabric"]);
    tree.file("sys/class/net/eth0/x", "");
    finds(&tree.host(), &machine, &["no-fabric"]);
    tree.file("sys/class/net/hsn0/x", "");
    finds(&tree.host(), &machine, &[]);
    tree.without("sys/class/net/hsn0")
        .file("sys/class/infiniband/mlx5_0/x", "");
    finds(&tree.host(), &machine, &[]);
    assert_eq!(fact(&tree.host(), &machine, "fabric"), "mlx5_0");
}

#[test]
fn every_known_driver_of_nvidia_tells_its_cuda() {
    for (driver, expected) in [
        ("465.19.01", None),
        ("470.42.01", Some("11.4")),
        ("494.9", Some("11.4")),
        ("495.29.05", Some("11.5")),
        ("510.39.01", Some("11.6")),
        ("515.43.04", Some("11.7")),
        ("520.61.05", Some("11.8")),
        ("525.60.13", Some("12.0")),
        ("530.30.02", Some("12.1")),
        ("535.54.03", Some("12.2")),
        ("545.23.06", Some("12.3")),
        ("550.54.14", Some("12.4")),
        ("555.42.02", Some("12.5")),
        ("560.28.03", Some("12.6")),
        ("565.57.01", Some("12.7")),
        ("570.86.10", Some("12.8")),
        ("579.99", Some("12.8")),
        ("580.65.06", Some("13.0")),
        ("600.1", Some("13.0")),
    ] {
        let tree = Tree::well();
        let line =
            format!("NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}  Thu Dec 28\n");
        tree.file("proc/driver/nvidia/version", &line);
        assert_eq!(cuda_of_driver(tree.0.path()), expected, "{driver}");
    }
}

#[test]
fn every_known_driver_of_amd_tells_its_rocm() {
    for (driver, expected) in [
        ("6.2.4", "6.2.4 (ROCm 5.7)"),
        ("6.3.6", "6.3.6 (ROCm 6.0)"),
        ("6.7.0", "6.7.0 (ROCm 6.1)"),
        ("6.8.5", "6.8.5 (ROCm 6.2)"),
        ("6.10.5", "6.10.5 (ROCm 6.3)"),
        ("6.12.12", "6.12.12 (ROCm 6.4)"),
        ("6.1.5", "6.1.5"),
        ("5.18.13", "5.18.13"),
    ] {
        let tree = Tree::well();
        tree.file("sys/module/amdgpu/version", &format!("{driver}\n"));
        let machine = Machine::default();
        assert_eq!(fact(&tree.host(), &machine, "amdgpu driver"), expected);
        assert_eq!(fact(&tree.host(), &machine, "gpus"), "none");
    }
}

/// Usability row B13: each kind of answer of a server has its finding.
#[test]
fn servers_are_judged_by_their_answers() {
    let judged = |answer: Answer| {
        let server = Server {
            role: "channel",
            address: "https://c.example/noarch/repodata.json".to_owned(),
            answer,
        };
        let mut health = Health::default();
        judge_servers(vec![server], &mut health);
        let codes = health.findings.iter();
        let codes = codes.map(|finding| (finding.code.name, finding.fix.clone()));
        codes.collect::<Vec<_>>()
    };
    assert_eq!(judged(Answer::Available { milliseconds: 2000 }), []);
    let slow = judged(Answer::Available { milliseconds: 2001 });
    assert_eq!(slow[0].0, "slow-server");
    assert_eq!(
        judged(Answer::Missing { status: 404 })[0].0,
        "missing-index"
    );
    let refused = judged(Answer::Unreachable {
        reason: "connection refused".to_owned(),
        advice: "set a proxy".to_owned(),
    });
    assert_eq!(refused, [("unreachable", "set a proxy".to_owned())]);
}

fn starting(tree: &Tree, runtime: Runtime, ranks: Option<u32>, images: u32) -> Host {
    Host {
        runtime: Some(runtime),
        starts: Starts {
            ranks,
            images,
            ..Starts::default()
        },
        ..tree.host()
    }
}

/// H5: 128 ranks of two images take all 256 loop devices that runtimes have as shipped.
#[test]
fn loop_devices_of_all_ranks() {
    let tree = Tree::well();
    let none = Machine::default();
    let conf = "etc/singularity/singularity.conf";
    let host = |ranks: u32, images| starting(&tree, setuid(), Some(ranks), images);
    // Without a configuration, the runtime's defaults count.
    finds(&host(127, 2), &none, &[]);
    finds(&host(128, 2), &none, &["loop-limit"]);
    finds(&host(128, 1), &none, &[]);
    tree.file(
        conf,
        "# shared loop devices = yes\nmax loop devices = 1024\n",
    );
    finds(&host(128, 2), &none, &[]);
    finds(&host(512, 2), &none, &["loop-limit"]);
    tree.file("sys/block/loop0/loop/backing_file", "/x\n")
        .file("sys/block/loop1/ro", "0\n");
    finds(&host(511, 2), &none, &[]);
    tree.file("sys/block/loop1/loop/backing_file", "/y\n");
    finds(&host(511, 2), &none, &["loop-limit"]);
    tree.file(conf, "shared loop devices = yes\n");
    finds(&host(512, 2), &none, &[]);
    let said = fact(&host(512, 2), &none, "starts");
    assert_eq!(
        said,
        "512 ranks with 2 images: 1024 of 256 loop devices, shared"
    );
    // A runtime elsewhere has its configuration there, and one without setuid takes no device.
    let apptainer = |setuid| Runtime {
        name: "apptainer 1.4.5".to_owned(),
        setuid,
        prefix: Some("/opt/apptainer".into()),
    };
    tree.without("sys/block").file(
        "opt/apptainer/etc/apptainer/apptainer.conf",
        "max loop devices = 4\n",
    );
    finds(
        &starting(&tree, apptainer(true), Some(2), 2),
        &none,
        &["loop-limit"],
    );
    finds(&starting(&tree, apptainer(false), Some(2), 2), &none, &[]);
    // The number of processors is that of the ranks, and an environment has two images.
    tree.file("proc/cpuinfo", "processor\t: 0\nflags: x\nprocessor\t: 1\n");
    finds(
        &starting(&tree, apptainer(true), None, 0),
        &none,
        &["loop-limit"],
    );
    tree.file("proc/cpuinfo", "processor\t: 0\n");
    finds(&starting(&tree, apptainer(true), None, 0), &none, &[]);
}

#[test]
fn the_tasks_of_a_step_share_a_container_where_they_can() {
    let tree = Tree::well();
    let none = Machine::default();
    let own = |why: &str| format!("each task has a container of its own: {why}");
    let said = |host: &Host| fact(host, &none, "sharing");
    assert_eq!(
        said(&tree.host()),
        own("there is no /bin/bash on this node")
    );
    tree.file("bin/bash", "");
    for name in ["flock", "mkfifo", "nsenter", "setsid", "sha256sum", "stat"] {
        tree.file(&format!("usr/bin/{name}"), "");
    }
    assert_eq!(said(&tree.host()), own("there is no setpriv on this node"));
    tree.file("usr/bin/setpriv", "");
    let shares = "the tasks of a job step share one container";
    assert_eq!(said(&tree.host()), shares);
    let mut host = tree.host();
    host.runtime = Some(setuid());
    let why = "only the runtime can enter it, because it is installed setuid";
    assert_eq!(said(&host), own(why));
    host.is_root = true;
    assert_eq!(
        said(&host),
        own("root has other capabilities in a container")
    );
}

#[test]
fn a_kernel_with_one_decompressor() {
    use std::io::Write;
    let none = Machine::default();
    let single = "CONFIG_SQUASHFS=y\nCONFIG_SQUASHFS_DECOMP_SINGLE=y\n";
    let many =
        "# CONFIG_SQUASHFS_DECOMP_SINGLE is not set\nCONFIG_SQUASHFS_DECOMP_MULTI_PERCPU=y\n";
    for (config, expected) in [(single, &["single-decompressor"][..]), (many, &[])] {
        let tree = Tree::well();
        let host = starting(&tree, setuid(), Some(1), 1);
        tree.file("proc/sys/kernel/osrelease", "6.4.0\n")
            .file("boot/config-6.4.0", config);
        finds(&host, &none, expected);
        // SquashFS is mounted by a program here.
        finds(&tree.host(), &none, &[]);
        tree.without("boot/config-6.4.0");
        finds(&host, &none, &[]);
        let path = tree.0.path().join("proc/config.gz");
        let file = fs_err::File::create(path).unwrap();
        let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        packed.write_all(config.as_bytes()).unwrap();
        packed.finish().unwrap();
        finds(&host, &none, expected);
    }
}

#[test]
fn files_that_all_nodes_read() {
    let tree = Tree::well();
    let none = Machine::default();
    let file = |bytes, stripes, in_shared_home| StartFile {
        path: "/scratch/image.sif".into(),
        bytes,
        stripes,
        in_shared_home,
    };
    for (file, expected) in [
        (file(10 << 30, Some(1), false), &["one-stripe"][..]),
        (file(10 << 30, Some(32), false), &[]),
        (file(10 << 30, None, false), &[]),
        (file(1 << 20, Some(1), false), &[]),
        (file(1 << 20, None, true), &["home-at-start"]),
    ] {
        let mut host = tree.host();
        host.starts.files = vec![file];
        finds(&host, &none, expected);
    }
    let mut host = tree.host();
    host.starts.records = Some("/home/me/.apptainer".into());
    finds(&host, &none, &["home-at-start"]);
    for (text, expected) in [
        ("4\n", Some(4)),
        ("1\n4\n32\n", Some(32)),
        ("-1\n", Some(u32::MAX)),
        ("raid0\n", None),
    ] {
        assert_eq!(parse_stripe_count(text), expected, "{text}");
    }
}

#[test]
fn squashfuse_on_path_or_beside_the_runtime() {
    let tree = Tree::well();
    let none = Machine::default();
    tree.without("usr/bin/squashfuse");
    finds(&tree.host(), &none, &["no-squashfuse"]);
    finds(&starting(&tree, setuid(), Some(1), 1), &none, &[]);
    tree.file("opt/apptainer/libexec/apptainer/bin/squashfuse_ll", "");
    finds(&tree.host(), &none, &[]);
}

#[test]
fn memory_that_is_free() {
    let tree = Tree::well();
    let free = || free_memory(tree.0.path());
    assert_eq!(free(), None);
    tree.file("proc/meminfo", "MemTotal: 90 kB\nMemAvailable: 8192 kB\n");
    assert_eq!(free(), Some(8 << 20));
    let group = "sys/fs/cgroup/user.slice/session/memory";
    tree.file(&format!("{group}.max"), "max\n")
        .file(&format!("{group}.current"), "4096\n");
    assert_eq!(free(), Some(8 << 20));
    tree.file("sys/fs/cgroup/user.slice/memory.max", "10000\n")
        .file("sys/fs/cgroup/user.slice/memory.current", "4000\n");
    assert_eq!(free(), Some(6000));
}
