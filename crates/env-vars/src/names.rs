//! Responsible for the names of all environment variables that the program reads. The page
//! docs/environment-variables.md is generated from them.

/// Base image when `--base-image` is not given: a .sif, a sandbox directory, or an image that is
/// pulled.
pub const CONDENSE_BASE_IMAGE: &str = "CONDENSE_BASE_IMAGE";
/// A catalogue of base images and sites over the built-in one.
pub const CONDENSE_CATALOGUE: &str = "CONDENSE_CATALOGUE";
/// The site that this machine is, instead of the one that is detected.
pub const CONDENSE_SITE: &str = "CONDENSE_SITE";
/// The freedesktop configuration directory: the user's own catalogue is in `condense` below it.
pub const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";
/// Directory of package archives and channel indices. If a group can write into it, it serves for
/// archives alone, whose digests are checked. If it belongs to another user or everybody can write
/// into it, it is not used.
pub const CONDENSE_CACHE_DIR: &str = "CONDENSE_CACHE_DIR";
/// What the cache of images may hold, in bytes or with K, M, G.
pub const CONDENSE_CACHE_SIZE: &str = "CONDENSE_CACHE_SIZE";
/// Where layers are decompressed when `--tmpdir` does not say (apptainer). Names of this kind that
/// are put together where they are read: `…_CACHEDIR`, `…_CONFIGDIR`, `…_NOHTTPS`,
/// `…_DOCKER_USERNAME`, `…_DOCKER_PASSWORD`.
pub const APPTAINER_TMPDIR: &str = "APPTAINER_TMPDIR";
/// The same of singularity, asked second.
pub const SINGULARITY_TMPDIR: &str = "SINGULARITY_TMPDIR";
/// Directory of docker's `config.json`, for credentials (docker).
pub const DOCKER_CONFIG: &str = "DOCKER_CONFIG";
/// File of credentials in docker's format (podman).
pub const REGISTRY_AUTH_FILE: &str = "REGISTRY_AUTH_FILE";
/// `containers/auth.json` below it holds credentials (podman).
pub const XDG_RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";
/// The freedesktop cache directory: `condense` below it is the default for archives.
pub const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";
/// Codes of findings that do not end a build or a check, between commas; `condense explain` knows
/// them.
pub const CONDENSE_ALLOW: &str = "CONDENSE_ALLOW";
/// The user's name, by which `condense doctor` asks for quotas.
pub const USER: &str = "USER";
/// Kind of the terminal; none is drawn on if it is `dumb` or not set.
pub const TERM: &str = "TERM";
/// Home directory: archives are in `.cache/condense` below it if neither of the two variables for
/// caches is set. Without a home directory they are in `condense-UID` in TMPDIR. Steps of a build
/// get another home directory, unless `--build-env HOME` lets this one in.
pub const HOME: &str = "HOME";
/// Scratch directory, must be absolute, is created when it is missing (Tykky).
pub const CW_BUILD_TMPDIR: &str = "CW_BUILD_TMPDIR";
/// Scratch directory when neither `--tmpdir` nor `CW_BUILD_TMPDIR` says.
pub const TMPDIR: &str = "TMPDIR";
/// Directories of installations that have names, `:` between them (Tykky).
pub const TYKKY_PATH: &str = "TYKKY_PATH";
/// A site's configuration in Tykky's form, YAML.
pub const CW_GLOBAL_YAML: &str = "CW_GLOBAL_YAML";
/// 0 errors, 1 warnings, 2 information (default), 3 everything (Tykky).
pub const CW_LOG_LEVEL: &str = "CW_LOG_LEVEL";
/// Keeps the scratch directory after the build when set (Tykky).
pub const CW_DEBUG_KEEP_FILES: &str = "CW_DEBUG_KEEP_FILES";
/// Colours on a terminal; anything but `yes` turns them off (Tykky).
pub const USE_COLOR: &str = "USE_COLOR";
/// Turns colours off when set and not empty, see no-color.org.
pub const NO_COLOR: &str = "NO_COLOR";
/// Time stamped on everything in the image, seconds since 1970; else that of the newest package.
pub const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";
/// Searched for the runtime, and for an active installation that is about to be replaced.
pub const PATH: &str = "PATH";
/// Libraries of the user's modules, for builds that see the host.
pub const LD_LIBRARY_PATH: &str = "LD_LIBRARY_PATH";
/// Version of the C library to solve for, instead of the base's or the host's (conda).
pub const CONDA_OVERRIDE_GLIBC: &str = "CONDA_OVERRIDE_GLIBC";
/// Version of CUDA to solve for (conda).
pub const CONDA_OVERRIDE_CUDA: &str = "CONDA_OVERRIDE_CUDA";
/// Version of the kernel to solve for (conda).
pub const CONDA_OVERRIDE_LINUX: &str = "CONDA_OVERRIDE_LINUX";
/// Level or name of the processor to solve for (conda).
pub const CONDA_OVERRIDE_ARCHSPEC: &str = "CONDA_OVERRIDE_ARCHSPEC";
/// Downloads at a time when `--jobs` is not given.
pub const CONDENSE_JOBS: &str = "CONDENSE_JOBS";
/// Configuration file, TOML: mirrors, downloads at a time, timeouts.
pub const CONDENSE_CONFIG: &str = "CONDENSE_CONFIG";
/// Proxy for `http://`; the first that is set.
pub const HTTP_PROXY: [&str; 2] = ["http_proxy", "HTTP_PROXY"];
/// Proxy for `https://`; the first that is set.
pub const HTTPS_PROXY: [&str; 2] = ["https_proxy", "HTTPS_PROXY"];
/// Proxy for both where they have none of their own; the first that is set.
pub const ALL_PROXY: [&str; 2] = ["all_proxy", "ALL_PROXY"];
/// Hosts that are reached without a proxy; the first that is set.
pub const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];
/// File of certificates that are believed instead of the system's (OpenSSL).
pub const SSL_CERT_FILE: &str = "SSL_CERT_FILE";
/// Directories of such certificates, between colons (OpenSSL).
pub const SSL_CERT_DIR: &str = "SSL_CERT_DIR";
/// File of systems and their base images for `cotainr --system`, instead of the one beside the
/// program.
pub const CONDENSE_SYSTEMS: &str = "CONDENSE_SYSTEMS";
/// File or directory of certificates that are believed as well (Python's requests).
pub const REQUESTS_CA_BUNDLE: &str = "REQUESTS_CA_BUNDLE";
/// The same (curl).
pub const CURL_CA_BUNDLE: &str = "CURL_CA_BUNDLE";
/// Credentials by host in rattler's form, JSON; asked before `~/.rattler/credentials.json`.
pub const RATTLER_AUTH_FILE: &str = "RATTLER_AUTH_FILE";
/// Passwords by host, instead of `~/.netrc` (curl).
pub const NETRC: &str = "NETRC";
/// pip asks no index when set: `--offline` builds with pip requirements need it (pip).
pub const PIP_NO_INDEX: &str = "PIP_NO_INDEX";
/// Follows conda's configuration files when set (Tykky).
pub const CW_ENABLE_CONDARC: &str = "CW_ENABLE_CONDARC";
/// One more configuration file of conda, the strongest; read when the above is set (conda).
pub const CONDARC: &str = "CONDARC";
/// Directory of OpenPGP keys, `pgp-public` and `pgp-secret`; else `~/.apptainer/keys` and
/// `~/.singularity/keys` (apptainer).
pub const APPTAINER_KEYSDIR: &str = "APPTAINER_KEYSDIR";
