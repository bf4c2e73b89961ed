//! Responsible for the table of all kinds of findings. The checks, the command `explain` and the
//! page of all codes use this table.

use std::fmt;

use serde::Serialize;

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The job will not run, or will not run as intended.
    Error,
    /// The job may not run, may run slowly, or may have another result later.
    Warning,
    /// The finding is information that needs no action.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// Kind of a finding.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// Stable name, used with `--allow` and `explain`.
    pub name: &'static str,
    /// Severity of findings of this kind.
    pub severity: Severity,
    /// Subject of the finding in one line.
    pub title: &'static str,
    /// Reason why the finding matters.
    pub why: &'static str,
    /// General advice on how to fix the finding.
    pub fix: &'static str,
}

impl Code {
    /// Renders the complete description.
    pub fn render(&self) -> String {
        format!(
            "{}[{}]: {}\n\nwhy: {}\n\nfix: {}\n\n`--allow {}` lets it pass.",
            self.severity, self.name, self.title, self.why, self.fix, self.name
        )
    }
}

/// Returns the code of this name.
pub fn find_code(name: &str) -> Option<&'static Code> {
    CODES.iter().find(|code| code.name == name).copied()
}

/// Renders the page of all codes as Markdown.
pub fn render_page() -> String {
    let mut page = String::from(
        "# What condense finds\n\n\
         Written by `condense explain --all` from the table that the checks use; change `crates/check/src/code.rs`, not this page.\n\
         `condense check` and the builders find the first part, `condense doctor` the second, and `condense check --log` the third;\n\
         `condense check` also finds `one-stripe` and `home-at-start`. An\n\
         error ends a build, and means exit status 1; `--allow CODE` of `check` and `doctor`, or `CONDENSE_ALLOW=CODE,…` everywhere, lets one pass.\n",
    );
    for (part, codes) in [
        ("Environments and images", &CODES[..MACHINE]),
        ("Machines", &CODES[MACHINE..LOG]),
        ("Logs of jobs", &CODES[LOG..]),
    ] {
        page.push_str(&format!("\n## {part}\n"));
        for code in codes {
            page.push_str(&format!(
                "\n### {}\n\n{}: {}.\n\n- why: {}\n- fix: {}\n",
                code.name, code.severity, code.title, code.why, code.fix
            ));
        }
    }
    page
}

macro_rules! codes {
    ($($name:ident $slug:literal $severity:ident $title:literal $why:literal $fix:literal;)*) => {
        $(pub(crate) static $name: Code = Code {
            name: $slug,
            severity: Severity::$severity,
            title: $title,
            why: $why,
            fix: $fix,
        };)*
        /// Codes of all kinds of findings: first those of environments and images, then those of
        /// machines, then those of logs.
        pub static CODES: &[&Code] = &[$(&$name),*];
    };
}

/// Index in [`CODES`] of the first code about machines.
const MACHINE: usize = 24;
/// Index in [`CODES`] of the first code about logs of jobs.
const LOG: usize = 46;

codes! {
    MISSING_LIBRARY "missing-library" Error
        "a program needs a library that nobody brings"
        "the dynamic linker ends the program before its first line: `error while loading shared libraries`"
        "add the package that has the library, or name a base image that has it with `--base-image`";
    MISSING_MODULE_LIBRARY "missing-module-library" Warning
        "a module or plugin needs a library that nobody brings"
        "importing or loading it fails: `ImportError: … cannot open shared object file`; everything else works"
        "add the package that has the library (libGL.so.1: `libgl` of conda-forge, or a headless variant of the package), or a base image that has it";
    GLIBC_TOO_OLD "glibc-too-old" Error
        "a file was built for a newer C library than the base has"
        "the dynamic linker refuses it: `version GLIBC_… not found`; the C library always comes from the base, never from the environment"
        "take a base image with a newer C library, or a build for an older one (conda packages are solved for the base; wheels named manylinux_2_17 run nearly everywhere)";
    SYMBOL_VERSION "symbol-version" Error
        "a file wants a newer version of a library than there is"
        "the dynamic linker refuses it: `version GLIBCXX_… not found`"
        "have a newer library in the environment (`libstdcxx-ng` for GLIBCXX and CXXABI), or build the file with the environment's own compilers";
    MPI_ABI "mpi-abi" Error
        "programs are built for another MPI than the site's"
        "MPICH's ABI is libmpi.so.12 and Open MPI's is libmpi.so.40: the site's MPI and its launcher cannot serve the other's programs, which start as many jobs of one rank or fall back to slow TCP"
        "build for the site's MPI: with conda-forge `mpich=*=external_*` or `openmpi=*=external_*` and packages with `mpi_mpich` or `mpi_openmpi` in their builds, with pip `MPICC=… pip install --no-binary mpi4py mpi4py`";
    MPI_MIXED "mpi-mixed" Error
        "one environment has programs of both MPIs"
        "two MPIs in one process end in a crash or in wrong answers, and one launcher starts only one of them"
        "ask for one MPI: `mpi=*=mpich` or `mpi=*=openmpi` in the environment file chooses the builds";
    MPI_PINNED "mpi-pinned" Warning
        "programs insist on an MPI that they bring themselves"
        "an RPATH is searched before LD_LIBRARY_PATH, so the host's MPI cannot take the place of the bundled one, which does not know the site's network and falls back to TCP"
        "with conda-forge ask for `mpich=*=external_*` (`openmpi=*=external_*`), which brings no library; with pip build the package against the host's MPI";
    CUDA_ON_AMD "cuda-on-amd" Error
        "software is built for CUDA and the site has AMD GPUs"
        "PyPI and conda serve builds for NVIDIA unless told otherwise: they carry gigabytes that cannot be used and find no GPU, or end with an error about libcuda.so.1"
        "take ROCm builds that fit the base's ROCm: `--extra-index-url https://download.pytorch.org/whl/rocmX.Y` for PyTorch, or a base image that has the framework";
    CUDA_LIBRARIES "cuda-libraries" Warning
        "NVIDIA's libraries are there where there are no NVIDIA GPUs"
        "they take gigabytes and serve nobody; often a package asks for them that would do without"
        "look which package asks for them and take its CPU or ROCm build, or a base image without CUDA";
    ROCM_ON_NVIDIA "rocm-on-nvidia" Error
        "software is built for ROCm and the site has NVIDIA GPUs"
        "it finds no GPU"
        "take builds for CUDA: of PyPI without an index for ROCm, or of conda-forge with `__cuda`";
    ROCM_LIBRARIES "rocm-libraries" Warning
        "AMD's libraries are there where there are no AMD GPUs"
        "they take gigabytes and serve nobody"
        "take a base image without ROCm, or one with CUDA";
    GPU_DRIVER_RANGE "gpu-driver-range" Error
        "ROCm or CUDA is out of the range that the site's driver serves"
        "AMD's driver serves ROCm two minor versions older and newer than itself, NVIDIA's serves no CUDA of a newer major version; beyond that kernels fail at run time, some of them silently"
        "take a base image or builds of a version in the range; `condense base find rocm=X.Y` shows what is there";
    CPU_LEVEL "cpu-level" Error
        "software wants a newer processor than the site has"
        "it dies with SIGILL (`Illegal instruction`), often deep in a job"
        "ask for a lower level: `x86_64-microarch-level=3` in the environment file, or CONDA_OVERRIDE_ARCHSPEC";
    WRONG_ARCHITECTURE "wrong-architecture" Error
        "files are for another processor than the base"
        "they cannot be started there: `Exec format error`"
        "build on the kind of machine that will run it, with `--platform` for locks, and take a base of the same architecture";
    IMAGE_CODEC "image-codec" Error
        "an image is compressed as the site's runtime does not read it"
        "it is refused before the program starts: SingularityCE, and apptainer before 1.4, read no zstd, whatever the kernel can do"
        "build with `--compression gzip`; a base keeps its own codec, so take another one or make it anew: `condense image extract`, then `condense image pack --compression gzip`";
    PYTHON_MISSING "python-missing" Error
        "a virtual environment's Python is not where it expects it"
        "the environment is a few links to an interpreter elsewhere; when that is gone or another version, nothing starts or no package is found"
        "take a base that has this Python at this place, or build the environment anew on the one that is there";
    USER_SITE "user-site" Warning
        "the user's own Python packages hide those of the environment"
        "Python looks into `~/.local` before the environment, so `pip install` without a virtual environment changes what every environment of this Python version imports"
        "build with `--no-user-site`, or set CONDENSE_NO_USER_SITE=1 at the start; `python -m pip uninstall NAME` removes a package, a virtual environment keeps it apart";
    PYTHONPATH "pythonpath" Warning
        "PYTHONPATH hides packages of the environment"
        "modules of a site set the variable for their own Python, and each other Python takes their packages too, often for another version"
        "unload the module, or `unset PYTHONPATH` before the start";
    CHANNEL_TERMS "channel-terms" Warning
        "packages come from Anaconda's own channels"
        "Anaconda's terms of service want a paid licence from organisations of more than 200 people, and sites ask users to keep away from them"
        "use conda-forge, with `nodefaults` in `channels:` where conda would add its defaults";
    MOVING_SOURCE "moving-source" Warning
        "something is asked for by a name that moves"
        "the same file gives another environment tomorrow, or none"
        "pin it: a commit behind `@` for repositories, `#sha256=` for URLs, a tag and a digest for images; or build with `--lock`";
    MOVING_LINK "moving-link" Warning
        "a link leads out of the installation"
        "what it leads to can be changed or removed by others, and may not be there on the nodes or in the container"
        "copy what it leads to (`--copy-base` for the base image), or link to a name that stays";
    GUI_PARTS "gui-parts" Note
        "programs open windows, and fonts or a renderer for OpenGL are missing"
        "without fonts, windows have boxes instead of letters, or do not open; without Mesa's software renderer, 3D needs a graphics card, which the nodes of a cluster do not have"
        "add fonts (conda-forge `fonts-conda-forge`, Debian `fonts-dejavu-core`) and Mesa (Debian `libgl1-mesa-dri`), or take a base image that has them; a graphical session of the site's web interface is another way";

    MODULE_IMAGE "module-image" Error
        "the image of a module is gone or has changed"
        "the module cannot be loaded, or its programs and packages are others than those that its help names"
        "bring the image back, or write the module anew for the image that is there: `condense module --force`";
    MODULE_COPY "module-copy" Warning
        "a copy of a module's image has other bytes"
        "the module takes the copy when its own image is gone, without a word: a job then runs other software"
        "keep the module's own image, or write the module with `--copy`";

    NO_RUNTIME "no-runtime" Error
        "there is no container runtime"
        "wrappers start apptainer or singularity, and there is neither"
        "load the module of your container runtime, or ask the site for apptainer";
    NO_NAMESPACES "no-namespaces" Error
        "containers cannot be started: no setuid runtime and no user namespaces"
        "a runtime needs one of them to make a container's file systems"
        "ask the site to allow user namespaces (kernel.unprivileged_userns_clone, user.max_user_namespaces) or to install the setuid part of apptainer";
    NO_LOOP "no-loop" Warning
        "there are no loop devices for a setuid runtime"
        "images are mounted through them; without, starting a container fails or goes through FUSE"
        "ask the site to load the kernel's module `loop` and to allow enough of them (`max_loop`)";
    NO_FUSE "no-fuse" Error
        "images cannot be mounted: no setuid runtime, and no /dev/fuse that you may open"
        "a runtime without setuid mounts SquashFS with squashfuse, which wants /dev/fuse"
        "ask the site to load the kernel's module `fuse` and to let everyone read and write /dev/fuse";
    NO_OVERLAY "no-overlay" Warning
        "the kernel has no overlay file system"
        "runtimes make mount points in images with overlay; without, they use underlay, which SIFs with an overlay partition do not survive"
        "ask the site to load the kernel's module `overlay`, or build flat images (the default of `cotainr build`)";
    LITTLE_SPACE "little-space" Warning
        "there is little room for a build"
        "an environment with PyTorch wants 10 to 20 GB in scratch while it is built"
        "name a larger place with `--tmpdir`, CW_BUILD_TMPDIR or TMPDIR: node-local disks or scratch";
    FEW_INODES "few-inodes" Warning
        "there are few inodes left for a build"
        "an environment has 10,000 to 200,000 files until it is packed: `No space left on device` or `Disk quota exceeded` although there is room"
        "build elsewhere (`--tmpdir`), best in /tmp in memory or on a node-local disk; remove unpacked environments that are packed by now";
    QUOTA "quota" Warning
        "your quota is nearly used up"
        "builds and jobs fail with `Disk quota exceeded`"
        "remove what is packed by now, or ask for more; CONDENSE_CACHE_DIR names another place for the cache";
    MEMORY_LIMIT "memory-limit" Warning
        "this session has little memory"
        "solving wants about 1 GB, and what is built in a /tmp in memory counts as well: the kernel kills what is too large without a word"
        "build in a job with more memory (`--mem`), or name a `--tmpdir` on a disk";
    NO_GPU "no-gpu" Warning
        "the site has GPUs, and this node shows none"
        "a login node has none; on a compute node the job did not ask for any, and software falls back to the CPU without a word"
        "ask for them (`--gpus`, `--gres=gpu`, `-l ngpus`), or look on a GPU node";
    GPU_ACCESS "gpu-access" Error
        "there is a GPU that you may not open"
        "programs see no GPU, or fail with `permission denied` on /dev/kfd or /dev/nvidia0"
        "ask the site to put you into the groups `video` and `render`";
    DRIVER_DIFFERS "driver-differs" Note
        "the GPU driver is another one than the catalogue says"
        "images and wheels are judged by what the catalogue says of the site"
        "put the version into a catalogue of your own (`rocm_driver`, `cuda_driver` under `[site.NAME]`), and tell the site";
    NO_FABRIC "no-fabric" Warning
        "the site's network is not to be seen on this node"
        "MPI and RCCL or NCCL fall back to TCP, ten times slower, without a word"
        "look on a compute node; login nodes may have none. Bind /opt/cray and libcxi.so.1 into the container on Slingshot";
    UNREACHABLE "unreachable" Warning
        "a server that builds need does not answer"
        "packages and base images come from channels, PyPI and registries; without them, only what the cache holds can be built"
        "ask for the proxy and the certificates of this site (docs/network.md), name a mirror in config.toml, or build on a login node";
    MISSING_INDEX "missing-index" Warning
        "a server has nothing at the address that is configured"
        "a channel or an index of this name does not exist there, so each build that needs it fails"
        "correct the name of the channel, the index or the mirror";
    SLOW_SERVER "slow-server" Note
        "a server takes long to answer"
        "each index and each package takes at least this long"
        "name a mirror nearby in config.toml, or look at the proxy";
    SITE_UNKNOWN "site-unknown" Note
        "this machine is no site of the catalogue"
        "binds, GPUs, MPI and drivers are not known, so much is not checked"
        "name the site with `--site`, or describe it in base-images.toml (`detect`, `gpu`, `mpi`, `binds`)";

    LOOP_LIMIT "loop-limit" Warning
        "the processes of a node need more loop devices than the runtime uses"
        "a setuid runtime takes a device for each image of each process, and without one a start fails: `no loop devices available`"
        "ask the site for `shared loop devices = yes`, or take a runtime that is not setuid: there wrappers and modules start all tasks of a node in one container, unless CW_SHARE is 0";
    SINGLE_DECOMPRESSOR "single-decompressor" Warning
        "the kernel decompresses SquashFS with one processor at a time"
        "processes that read the same image wait for each other: four readers took 99 s instead of 9 s"
        "ask the site for a kernel with CONFIG_SQUASHFS_DECOMP_MULTI_PERCPU";
    ONE_STRIPE "one-stripe" Warning
        "a large image lies on one server of Lustre"
        "all nodes read it from this server, whose bandwidth they share"
        "copy it once with a layout: `lfs setstripe -E 4M -c 1 -E 64M -c 4 -E -1 -c 32 -S 4M NEW && cp OLD NEW`; images that condense makes there get one. Or copy it to the nodes with `condense stage`";
    HOME_AT_START "home-at-start" Warning
        "each start goes through the home directory"
        "home directories are made for few clients: a thousand nodes that start at once wait for it, and so do all users"
        "move the installation or the image to scratch or project space, or copy it to the nodes with `condense stage`; APPTAINER_CONFIGDIR in /tmp keeps records of containers out of HOME";
    NO_SQUASHFUSE "no-squashfuse" Warning
        "squashfuse is missing, with which a runtime without setuid mounts images"
        "the image of an environment cannot be mounted, and a .sif is unpacked at each start"
        "ask the site to install squashfuse, or a runtime that brings it (apptainer from 1.1 on)";

    JOB_SOCKETS "job-sockets" Warning
        "the job sends its data through sockets instead of the fast network"
        "it is three to ten times slower than it could be, and says so nowhere else"
        "look for the network's library in the image and its devices on the node (`condense doctor` there); on Slingshot bind /opt/cray and libcxi.so.1, take an image with the plugin for libfabric, and keep NCCL_SOCKET_IFNAME to interfaces that exist";
    JOB_NICS "job-nics" Warning
        "hosts of the job have found different numbers of network cards"
        "the slowest host decides how fast all others are"
        "tell the site about the host with fewer cards, and leave it out with `--exclude`";
    JOB_RANKS_ALONE "job-ranks-alone" Warning
        "each process is a job of its own"
        "the same work is done many times, and results are overwritten"
        "let the launcher of the MPI in the image start the ranks: `srun --mpi=pmi2` for MPICH, `condense job` writes it; for PyTorch start each rank with `conda-python-distributed`";
    JOB_RANKS_MISSING "job-ranks-missing" Error
        "ranks have not joined the others"
        "all others wait for them until a time limit ends the job"
        "look at the log of the missing rank's host; with ROCm 7 leave NCCL_NET_GDR_LEVEL unset, and set FI_MR_CACHE_MONITOR=userfaultfd on Slingshot";
    JOB_GPU_SHARED "job-gpu-shared" Error
        "two ranks of a host use the same GPU"
        "NCCL refuses it, and without NCCL the ranks share memory and time of one GPU while others idle"
        "use LOCAL_RANK as the device, or let `conda-python-distributed` show each rank its own; set ROCR_VISIBLE_DEVICES or HIP_VISIBLE_DEVICES, never both";
    JOB_CORES_SHARED "job-cores-shared" Warning
        "tasks of a host share cores"
        "they wait for each other, and GPUs wait for them"
        "bind tasks: `--cpus-per-task`, and on whole nodes with GPUs the masks of `condense job masks`";
    JOB_GPU_MISSING "job-gpu-missing" Error
        "the program saw no GPU, or not the one that it wanted"
        "it ends, or computes on the CPU without a word"
        "ask Slurm for GPUs, pass `--rocm` or `--nv` to the runtime, and use device 0 where a run script shows each rank one GPU";
    JOB_GPU_MEMORY "job-gpu-memory" Error
        "the GPU's memory is used up"
        "the program ends where it asked for more"
        "make batches smaller, shard the model, or look whether two ranks use one GPU";
    JOB_GPU_KERNEL "job-gpu-kernel" Error
        "the package has no code for this GPU"
        "programs end at their first computation"
        "install a build of the package for this GPU (gfx90a for MI250X, sm_80 for A100, sm_90 for H100 and GH200); `condense check` shows what an image has";
    JOB_TIME_LIMIT "job-time-limit" Error
        "the time limit ended the job"
        "what was not saved is lost"
        "ask for more time with `--time`, or save and continue from checkpoints";
    JOB_MEMORY "job-memory" Error
        "memory was used up"
        "the kernel or Slurm kills processes, often without a word of the program"
        "ask for more with `--mem`, use fewer workers for loading data, and count what lies in /tmp where it is in memory";
    JOB_NODE_FAILURE "job-node-failure" Error
        "a node failed, or the job had to make place for another"
        "the job ended for no reason of its own"
        "submit it again, from its last checkpoint";
    JOB_LAUNCH "job-launch" Error
        "Slurm or the MPI launcher could not start tasks"
        "nothing has run"
        "compare the options with the site's rules: `condense job` writes them; masks need whole nodes, and `srun --mpi=list` names the launchers";
    JOB_CONTAINER "job-container" Error
        "the container runtime gave up"
        "the program was not started"
        "read the message: a missing file is an image or a bind that is not on this node; `condense doctor` on the node tells what the runtime lacks";
    JOB_LOOP_DEVICES "job-loop-devices" Error
        "the node has no loop device left for an image"
        "each container of a setuid runtime takes one device for each image, and many ranks take all"
        "start fewer containers a node (one task a node with `torchrun`), or ask the site for `shared loop devices = yes`";
    JOB_LIBRARY "job-library" Error
        "the dynamic linker did not find a library, or a version of it"
        "the program ended before its first line, or an import failed"
        "`condense check` on the image names the package or the base that has it; LD_LIBRARY_PATH of a module may bring another version in";
    JOB_PORT "job-port" Error
        "a port was in use"
        "two jobs or steps on one node have taken the same MASTER_PORT"
        "leave MASTER_PORT unset, so that `conda-python-distributed` takes one for each step";
    JOB_RENDEZVOUS "job-rendezvous" Error
        "ranks did not find each other, or lost each other"
        "the first message is of the rank that waited; the reason is often in another rank's lines"
        "look for the first failing rank; MASTER_ADDR is the first node of the step, as `get-master` prints it";
    JOB_SPACE "job-space" Error
        "a file system or a quota is full"
        "files are cut short"
        "write to scratch, and move caches there: HF_HOME, TORCH_HOME, MIOPEN_USER_DB_PATH; `condense doctor` shows quotas";
    JOB_CACHE "job-cache" Warning
        "ranks fight for the same cache of MIOpen"
        "kernels are compiled again and again, or ranks fail at random"
        "start ranks with `conda-python-distributed`, which gives each job and node a cache of its own";
    JOB_PACKAGE_MISSING "job-package-missing" Error
        "a Python package is not there"
        "the environment lacks it, or another Python has run"
        "add it with `condense update NAME PACKAGE`, and look which Python the job starts";
    JOB_INSTRUCTION "job-instruction" Error
        "a program has instructions that this processor lacks"
        "it was built for a newer processor"
        "install generic builds; `condense check --site` names the file";
    JOB_CRASHED "job-crashed" Error
        "a process ended with an error"
        "the others wait for it, or are ended as well"
        "look at the lines before the first one of this kind";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_explains_itself() {
        for code in CODES {
            let expected = format!(
                "{}[{}]: {}\n\nwhy: {}\n\nfix: {}\n\n`--allow {}` lets it pass.",
                code.severity, code.name, code.title, code.why, code.fix, code.name
            );
            assert_eq!(code.render(), expected);
            assert!(!code.why.is_empty() && !code.fix.is_empty());
            assert_eq!(find_code(code.name), Some(*code));
        }
        assert_eq!(find_code("no-such-code"), None);
        let page = render_page();
        assert!(CODES.iter().all(|code| page.contains(code.why)));
    }

    /// Each code has a test named after it, in which the finding appears and does not appear.
    #[test]
    fn every_code_has_tests() {
        let environments = concat!(
            include_str!("checks/tests/gpu.rs"),
            include_str!("checks/tests/libraries.rs"),
            include_str!("checks/tests/mpi.rs"),
            include_str!("checks/tests/origin.rs"),
            include_str!("checks/tests/platform.rs"),
            include_str!("checks/tests/requests.rs"),
            include_str!("checks/shadows.rs"),
            include_str!("../../../tests/cli/modules.rs"),
        );
        let machines = include_str!("doctor/tests.rs");
        let logs = include_str!("log/tests.rs");
        for (codes, tests) in [
            (&CODES[..MACHINE], environments),
            (&CODES[MACHINE..LOG], machines),
            (&CODES[LOG..], logs),
        ] {
            for code in codes {
                let quoted = format!("\"{}\"", code.name);
                assert!(tests.contains(&quoted), "{quoted} has no test");
            }
        }
        // An empty list of codes means that no finding is expected.
        assert!(environments.contains("assert_findings(&[])") && machines.contains("&[])"));
    }

    #[test]
    fn names_are_unique_and_can_be_typed() {
        let names: BTreeSet<&str> = CODES.iter().map(|code| code.name).collect();
        assert_eq!(names.len(), CODES.len());
        for code in CODES {
            let plain = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(code.name.chars().all(plain), "{}", code.name);
            for text in [code.title, code.why, code.fix] {
                assert!(!text.ends_with('.') && !text.is_empty(), "{}", code.name);
            }
            assert_eq!(find_code(code.name), Some(*code));
        }
        assert_eq!(find_code("nothing"), None);
        assert_eq!(CODES[MACHINE], &NO_RUNTIME);
        assert_eq!(CODES[LOG], &JOB_SOCKETS);
    }
}
