//! Responsible for the names of all environment variables that the program reads. The page
//! docs/environment-variables.md is generated from them.

/// Programs do not see the user's own Python packages in `~/.local` when set, except to `0`. The
/// value `0` shows them again for an installation that was built with `--no-user-site`.
pub const CONDENSE_NO_USER_SITE: &str = "CONDENSE_NO_USER_SITE";
/// MPI with which programs start whose image needs one: `host`, the newest fitting library of the
/// node, or `image`; default: what `--mpi` said at the build.
pub const CONDENSE_MPI: &str = "CONDENSE_MPI";
/// Number of the job, in which `condense doctor --mpi` starts ranks with srun, and `condense
/// desktop` prints how to reach a node (Slurm).
pub const SLURM_JOB_ID: &str = "SLURM_JOB_ID";
/// Number of the job's nodes, on two of which `condense doctor --mpi` starts ranks, and to all of
/// which `condense stage` copies images (Slurm).
pub const SLURM_JOB_NUM_NODES: &str = "SLURM_JOB_NUM_NODES";
/// Number of the job step. In a step, `condense stage` copies to its own node only (Slurm).
pub const SLURM_STEP_ID: &str = "SLURM_STEP_ID";
/// Name of the node, which `condense stage` tells (Slurm).
pub const SLURMD_NODENAME: &str = "SLURMD_NODENAME";
/// Directory of the job on its node, in which `condense stage` puts copies when neither `--to` nor
/// `CW_STAGE` is given (Slurm).
pub const SLURM_TMPDIR: &str = "SLURM_TMPDIR";
/// Directory in which `condense stage` puts copies of images on a node, and in which wrappers look
/// for them: they take a copy that is whole instead of the image.
pub const CW_STAGE: &str = "CW_STAGE";
/// Directory of the user's own Python packages, which `condense check` compares with those of an
/// environment (Python).
pub const PYTHONUSERBASE: &str = "PYTHONUSERBASE";
/// When set, the user's own Python packages are not visible (Python).
pub const PYTHONNOUSERSITE: &str = "PYTHONNOUSERSITE";
/// Directories of Python packages, which `condense check` compares with those of an environment
/// (Python).
pub const PYTHONPATH: &str = "PYTHONPATH";
/// Base image when `--base-image` is not given: a .sif file, a sandbox directory, an image of the
/// catalogue, or a reference of an image that is pulled.
pub const CONDENSE_BASE_IMAGE: &str = "CONDENSE_BASE_IMAGE";
/// File with a catalogue of base images and sites, which overrides the built-in one.
pub const CONDENSE_CATALOGUE: &str = "CONDENSE_CATALOGUE";
/// Name of the site whose rules are followed, instead of the detected one.
pub const CONDENSE_SITE: &str = "CONDENSE_SITE";
/// Configuration directory (freedesktop); the user's own catalogue and `config.toml` are in
/// `condense` below it.
pub const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";
/// Directory of package archives and channel indices. If a group can write to it, only archives are
/// kept in it, because their digests are checked. If it belongs to another user or all users can
/// write to it, it is not used.
pub const CONDENSE_CACHE_DIR: &str = "CONDENSE_CACHE_DIR";
/// Maximum size of the cache of images: a number of bytes, or a number with K, M or G; default:
/// 20G.
pub const CONDENSE_CACHE_SIZE: &str = "CONDENSE_CACHE_SIZE";
/// Maximum size of the cache of compressed blocks, unpacked packages, byte code and starts, which
/// is in `blocks` below the cache directory, or in `blocks-UID` if a group can write to it: a
/// number of bytes, or a number with K, M or G; default: 4G, and at most a tenth of the free space
/// besides what is there. 0 switches the cache off; `condense cache clean --blocks` removes what is
/// there.
pub const CONDENSE_BLOCK_CACHE_SIZE: &str = "CONDENSE_BLOCK_CACHE_SIZE";
/// Directories with compressed blocks that are only read, separated by colons: a site's. They are
/// used if nobody but their owner and root can write into them.
pub const CONDENSE_BLOCK_CACHES: &str = "CONDENSE_BLOCK_CACHES";
/// Directory in which `condense pull` decompresses layers when `--tmpdir` is not given (apptainer).
/// The variables `…_CACHEDIR`, `…_CONFIGDIR`, `…_NOHTTPS`, `…_DOCKER_USERNAME` and
/// `…_DOCKER_PASSWORD` of apptainer and singularity are read as well.
pub const APPTAINER_TMPDIR: &str = "APPTAINER_TMPDIR";
/// When set, apptainer makes a record in `APPTAINER_CONFIGDIR` for each start. `condense doctor`
/// warns if this is in a home directory that nodes share (apptainer).
pub const APPTAINER_SHARENS: &str = "APPTAINER_SHARENS";
/// Directory of apptainer's records and credentials; default: `~/.apptainer` (apptainer).
pub const APPTAINER_CONFIGDIR: &str = "APPTAINER_CONFIGDIR";
/// Same as `APPTAINER_TMPDIR`, which takes precedence.
pub const SINGULARITY_TMPDIR: &str = "SINGULARITY_TMPDIR";
/// Directory of docker's `config.json`, which has credentials of registries (docker).
pub const DOCKER_CONFIG: &str = "DOCKER_CONFIG";
/// File with credentials of registries in docker's format (podman).
pub const REGISTRY_AUTH_FILE: &str = "REGISTRY_AUTH_FILE";
/// Runtime directory; `containers/auth.json` below it has credentials of registries (podman).
pub const XDG_RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";
/// Data directory of Jupyter, in which `condense kernel` writes (Jupyter).
pub const JUPYTER_DATA_DIR: &str = "JUPYTER_DATA_DIR";
/// Data directory (freedesktop); kernels of Jupyter are in `jupyter` below it if
/// `JUPYTER_DATA_DIR` is not set.
pub const XDG_DATA_HOME: &str = "XDG_DATA_HOME";
/// Cache directory (freedesktop); `condense` below it is the default directory of package archives.
pub const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";
/// Codes of findings that do not make a build or a check fail, separated by commas; `condense
/// explain` lists all codes.
pub const CONDENSE_ALLOW: &str = "CONDENSE_ALLOW";
/// Whether new images get a layout by size from `lfs`, which spreads them over the servers of
/// Lustre: `0` for never, `1` whatever the file system says; default: where it is Lustre.
pub const CONDENSE_STRIPES: &str = "CONDENSE_STRIPES";
/// Set in jobs that run a build for `--submit`, which then builds there instead of submitting
/// another job.
pub const CONDENSE_SUBMITTED: &str = "CONDENSE_SUBMITTED";
/// X display, which the programs of `condense desktop` get (X11).
pub const DISPLAY: &str = "DISPLAY";
/// File with the cookies of X displays, which the programs of `condense desktop` get (X11).
pub const XAUTHORITY: &str = "XAUTHORITY";
/// Wayland display, which the programs of `condense desktop` do not see (Wayland).
pub const WAYLAND_DISPLAY: &str = "WAYLAND_DISPLAY";
/// Whether the CPU draws 3D graphics; `condense desktop` sets it to `1` unless it is set (Mesa).
pub const LIBGL_ALWAYS_SOFTWARE: &str = "LIBGL_ALWAYS_SOFTWARE";
/// Same as `SLURM_JOB_ID` (PBS).
pub const PBS_JOBID: &str = "PBS_JOBID";
/// Name of the user, with which `condense doctor` looks up quotas, and which the commands of
/// `condense desktop` have.
pub const USER: &str = "USER";
/// Kind of the terminal. Progress bars and colours are off if it is `dumb` or not set.
pub const TERM: &str = "TERM";
/// Home directory. Package archives are in `.cache/condense` below it if neither
/// `CONDENSE_CACHE_DIR` nor `XDG_CACHE_HOME` is set. Without a home directory they are in
/// `condense-UID` in `TMPDIR`. The steps of a build get another home directory, unless `--build-env
/// HOME` is given.
pub const HOME: &str = "HOME";
/// Parent of the scratch directory, an absolute path. It is created if it is missing (Tykky).
pub const CW_BUILD_TMPDIR: &str = "CW_BUILD_TMPDIR";
/// Parent of the scratch directory when neither `--tmpdir` nor `CW_BUILD_TMPDIR` is given.
pub const TMPDIR: &str = "TMPDIR";
/// Directories of installations that are found by name, separated by `:`; default: `~/.tykky`
/// (Tykky).
pub const TYKKY_PATH: &str = "TYKKY_PATH";
/// Configuration of a site in Tykky's format, YAML.
pub const CW_GLOBAL_YAML: &str = "CW_GLOBAL_YAML";
/// Messages that are shown: 0 for errors, 1 also warnings, 2 also information (default), 3
/// everything (Tykky).
pub const CW_LOG_LEVEL: &str = "CW_LOG_LEVEL";
/// When set, the scratch directory is kept after the build (Tykky).
pub const CW_DEBUG_KEEP_FILES: &str = "CW_DEBUG_KEEP_FILES";
/// Colours on a terminal; any value except `yes` turns them off (Tykky).
pub const USE_COLOR: &str = "USE_COLOR";
/// When set and not empty, colours are off; see no-color.org.
pub const NO_COLOR: &str = "NO_COLOR";
/// Colours are off if it is `0`.
pub const CLICOLOR: &str = "CLICOLOR";
/// Modification time of everything in the image, in seconds since 1970; default: the time of the
/// newest package, or for wrapped and packed directories the times of their files.
pub const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";
/// Directories in which the runtime and other programs are searched. An installation whose `bin` is
/// in it is active and is not replaced or removed.
pub const PATH: &str = "PATH";
/// Directories of libraries of loaded modules. The steps of a build get it if the host's system
/// directories are visible in the container.
pub const LD_LIBRARY_PATH: &str = "LD_LIBRARY_PATH";
/// Version of the C library to solve for, instead of that of the base image or of the host (conda).
pub const CONDA_OVERRIDE_GLIBC: &str = "CONDA_OVERRIDE_GLIBC";
/// Version of CUDA to solve for (conda).
pub const CONDA_OVERRIDE_CUDA: &str = "CONDA_OVERRIDE_CUDA";
/// Version of the kernel to solve for (conda).
pub const CONDA_OVERRIDE_LINUX: &str = "CONDA_OVERRIDE_LINUX";
/// Level or name of the processor to solve for (conda).
pub const CONDA_OVERRIDE_ARCHSPEC: &str = "CONDA_OVERRIDE_ARCHSPEC";
/// Number of parallel downloads when `--jobs` is not given.
pub const CONDENSE_JOBS: &str = "CONDENSE_JOBS";
/// Channels for packages that are named without a channel, separated by commas; default:
/// conda-forge.
pub const CONDENSE_CHANNELS: &str = "CONDENSE_CHANNELS";
/// Compression of images when `--compression` is not given: `zstd:3`, `gzip:6`, `xz`.
pub const CONDENSE_COMPRESSION: &str = "CONDENSE_COMPRESSION";
/// Configuration file, TOML, which `condense config` shows and changes: default base image, site,
/// cache, channels, compression, mirrors, number of parallel downloads, retries, timeouts.
pub const CONDENSE_CONFIG: &str = "CONDENSE_CONFIG";
/// Proxy for `http://`; the first that is set.
pub const HTTP_PROXY: [&str; 2] = ["http_proxy", "HTTP_PROXY"];
/// Proxy for `https://`; the first that is set.
pub const HTTPS_PROXY: [&str; 2] = ["https_proxy", "HTTPS_PROXY"];
/// Proxy for `http://` and `https://` if the variables above are not set; the first that is set.
pub const ALL_PROXY: [&str; 2] = ["all_proxy", "ALL_PROXY"];
/// Hosts that are reached without a proxy; the first that is set.
pub const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];
/// File of certificates that are trusted instead of the system's (OpenSSL).
pub const SSL_CERT_FILE: &str = "SSL_CERT_FILE";
/// Directories of certificates that are trusted instead of the system's, separated by `:`
/// (OpenSSL).
pub const SSL_CERT_DIR: &str = "SSL_CERT_DIR";
/// File of systems and their base images for `cotainr --system`, instead of `systems.json` beside
/// the program.
pub const CONDENSE_SYSTEMS: &str = "CONDENSE_SYSTEMS";
/// File or directory of certificates that are trusted in addition (Python's requests).
pub const REQUESTS_CA_BUNDLE: &str = "REQUESTS_CA_BUNDLE";
/// File or directory of certificates that are trusted in addition (curl).
pub const CURL_CA_BUNDLE: &str = "CURL_CA_BUNDLE";
/// File with credentials by host in rattler's format, JSON. It is read before
/// `~/.rattler/credentials.json`.
pub const RATTLER_AUTH_FILE: &str = "RATTLER_AUTH_FILE";
/// File with passwords by host, instead of `~/.netrc` (curl).
pub const NETRC: &str = "NETRC";
/// Index of pip, which `condense doctor` asks (pip).
pub const PIP_INDEX_URL: &str = "PIP_INDEX_URL";
/// Configuration file of pip, in which `condense doctor` looks for the index (pip).
pub const PIP_CONFIG_FILE: &str = "PIP_CONFIG_FILE";
/// When set, pip uses no index. Builds with `--offline` and pip requirements need it (pip).
pub const PIP_NO_INDEX: &str = "PIP_NO_INDEX";
/// When set, conda's configuration files are followed (Tykky).
pub const CW_ENABLE_CONDARC: &str = "CW_ENABLE_CONDARC";
/// One more configuration file of conda, which overrides the others. It is read only if
/// `CW_ENABLE_CONDARC` is set (conda).
pub const CONDARC: &str = "CONDARC";
/// Directory of the user's own EasyBuild software; default: `~/EasyBuild`. If it exists, modules of
/// images go into `modules/container` below it. Set but empty, there is none (LUMI).
pub const EBU_USER_PREFIX: &str = "EBU_USER_PREFIX";
/// Directory of the OpenPGP key files `pgp-public` and `pgp-secret`; default: `~/.apptainer/keys`
/// and `~/.singularity/keys` (apptainer).
pub const APPTAINER_KEYSDIR: &str = "APPTAINER_KEYSDIR";
/// Directories of environment modules, in which `condense job` looks for a module (Environment
/// Modules, Lmod).
pub const MODULEPATH: &str = "MODULEPATH";
/// Project that pays for a job of `condense job`, if `--account` does not name one (Slurm).
pub const SBATCH_ACCOUNT: &str = "SBATCH_ACCOUNT";
/// Bind mounts of each container, which `condense doctor` shows (apptainer).
pub const APPTAINER_BIND: &str = "APPTAINER_BIND";
/// Bind mounts of each container, unless `APPTAINER_BIND` hides them (apptainer).
pub const SINGULARITY_BIND: &str = "SINGULARITY_BIND";
/// More bind mounts of each container, beside those of `APPTAINER_BIND` (apptainer).
pub const APPTAINER_BINDPATH: &str = "APPTAINER_BINDPATH";
/// More bind mounts of each container, unless `APPTAINER_BINDPATH` hides them (apptainer).
pub const SINGULARITY_BINDPATH: &str = "SINGULARITY_BINDPATH";
