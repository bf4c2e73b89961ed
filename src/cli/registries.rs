//! Responsible for finding credentials, certificates and the cache of images. The environment
//! variables of the container runtimes are followed.

use std::path::PathBuf;

use anyhow::bail;
use condense_oci::{Access, Credentials, Keyring, Retry, TrustDirs};

use super::network::registry_mirrors;
use condense_build::plan::{CacheLimit, Registries};
use condense_diagnostics::UserError;
use condense_env_vars::{self as env_vars, EnvVars};

/// Prefix of the variables and name of the directory of each runtime. The first runtime takes
/// precedence.
const RUNTIMES: [(&str, &str); 2] = [("APPTAINER", ".apptainer"), ("SINGULARITY", ".singularity")];
/// Default size of the cache of images. It is a large part of a home directory on a cluster, and
/// has room for one of the largest base images.
const CACHE_SIZE_BYTES: u64 = 20 << 30;
/// Directories in which sites put the certificates of their own registries.
const TRUST_DIRS: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];

/// Options of the command line about registries. All other settings come from environment
/// variables.
#[derive(Debug, Default)]
pub(crate) struct RegistryOptions {
    /// Whether registries are reached with plain HTTP.
    pub no_https: bool,
    /// File of `--authfile`, which has credentials of registries.
    pub auth_file: Option<PathBuf>,
    /// Whether the cache of images is not used.
    pub no_cache: bool,
}

/// Reads the settings of registries from environment variables. `cache_dir` is the directory of
/// package archives, below which the cache of images is by default.
pub(crate) fn read(
    wishes: RegistryOptions,
    cache_dir: Option<PathBuf>,
    env_vars: &EnvVars,
) -> anyhow::Result<Registries> {
    let home = env_vars.get(env_vars::HOME).map(PathBuf::from);
    let of_runtime = |name: &str| {
        RUNTIMES
            .iter()
            .find_map(|(runtime, _)| env_vars.get(&format!("{runtime}_{name}")))
    };
    let keyring = Keyring {
        given: given_credentials(env_vars)?,
        auth_file: wishes.auth_file.map(|path| env_vars.cwd.join(path)),
        docker_files: docker_files(env_vars, home.as_ref()),
        remote_files: config_dirs(env_vars, home.as_ref())
            .map(|dir| dir.join("remote.yaml"))
            .collect(),
        helper_dirs: std::env::split_paths(env_vars.get(env_vars::PATH).unwrap_or_default())
            .filter(|dir| dir.is_absolute())
            .collect(),
    };
    let mut trust = vec![];
    if let Some(home) = &home {
        trust.push(home.join(".config/containers/certs.d"));
        trust.push(home.join(".docker/certs.d"));
    }
    trust.extend(TRUST_DIRS.map(PathBuf::from));
    let plain_http = of_runtime("NOHTTPS").is_some_and(is_yes);
    let cache = if wishes.no_cache {
        None
    } else {
        let own = env_vars
            .get(env_vars::CONDENSE_CACHE_DIR)
            .map(|dir| env_vars.cwd.join(dir));
        let of_runtime = of_runtime("CACHEDIR").map(|dir| env_vars.cwd.join(dir).join("condense"));
        let dir = own
            .or(of_runtime)
            .or(cache_dir)
            .unwrap_or_else(|| env_vars.cache_dir(None));
        Some(CacheLimit {
            dir: dir.join("oci"),
            own: env_vars.own_cache_dir().join("oci"),
            size_max: cache_size(env_vars)?,
        })
    };
    Ok(Registries {
        access: Access {
            keyring,
            plain_http: wishes.no_https || plain_http,
            trust: TrustDirs(trust),
            retry: Retry::default(),
            mirrors: registry_mirrors(env_vars)?,
        },
        offline: false,
        cache,
    })
}

/// Returns the credentials in the variables `…_DOCKER_USERNAME` and `…_DOCKER_PASSWORD`. They are
/// used for all registries, as in the runtimes. It is an error if only one of the two is set.
fn given_credentials(env_vars: &EnvVars) -> anyhow::Result<Option<Credentials>> {
    for (runtime, _) in RUNTIMES {
        let names = ["USERNAME", "PASSWORD"].map(|what| format!("{runtime}_DOCKER_{what}"));
        match names.each_ref().map(|name| env_vars.get(name)) {
            [Some(user), Some(password)] => {
                return Ok(Some(Credentials::Password {
                    user: user.to_owned(),
                    password: password.to_owned(),
                }));
            }
            [None, None] => {}
            [user, _] => {
                let [set, unset] = if user.is_some() {
                    [&names[0], &names[1]]
                } else {
                    [&names[1], &names[0]]
                };
                bail!(UserError::new(
                    format!("{set} is set and {unset} is not"),
                    "set both or neither",
                ));
            }
        }
    }
    Ok(None)
}

/// Returns the configuration directories of the runtimes.
fn config_dirs<'a>(
    env_vars: &'a EnvVars,
    home: Option<&'a PathBuf>,
) -> impl Iterator<Item = PathBuf> {
    RUNTIMES.iter().filter_map(move |(runtime, dir)| {
        env_vars
            .get(&format!("{runtime}_CONFIGDIR"))
            .map(|dir| env_vars.cwd.join(dir))
            .or_else(|| Some(home?.join(dir)))
    })
}

/// Returns the files of credentials in docker's format: those of the runtimes, of docker and of
/// podman.
fn docker_files(env_vars: &EnvVars, home: Option<&PathBuf>) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = config_dirs(env_vars, home)
        .map(|dir| dir.join("docker-config.json"))
        .collect();
    let docker = env_vars
        .get(env_vars::DOCKER_CONFIG)
        .map(|dir| env_vars.cwd.join(dir))
        .or_else(|| Some(home?.join(".docker")));
    files.extend(docker.map(|dir| dir.join("config.json")));
    files.extend(
        env_vars
            .get(env_vars::REGISTRY_AUTH_FILE)
            .map(|path| env_vars.cwd.join(path)),
    );
    files.extend(
        env_vars
            .get(env_vars::XDG_RUNTIME_DIR)
            .map(|dir| PathBuf::from(dir).join("containers/auth.json")),
    );
    files.extend(home.map(|home| home.join(".config/containers/auth.json")));
    files
}

/// Returns whether the runtimes treat a value as true.
fn is_yes(word: &str) -> bool {
    ["1", "t", "true", "y", "yes"].contains(&word.to_lowercase().as_str())
}

fn cache_size(env_vars: &EnvVars) -> anyhow::Result<u64> {
    let Some(text) = env_vars.get(env_vars::CONDENSE_CACHE_SIZE) else {
        return Ok(CACHE_SIZE_BYTES);
    };
    match size(text) {
        Some(size) => Ok(size),
        None => bail!(UserError::new(
            format!("CONDENSE_CACHE_SIZE `{text}` is not a size"),
            "write bytes, or a number with K, M or G: `20G`",
        )),
    }
}

/// Returns the number of bytes of a size such as `20G`.
pub(crate) fn size(text: &str) -> Option<u64> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 1_u64 << 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> anyhow::Result<Registries> {
        super::read(RegistryOptions::default(), None, &EnvVars::of(pairs))
    }

    #[test]
    fn runtimes_variables_are_followed() -> anyhow::Result<()> {
        let found = read(&[
            ("HOME", "/home/me"),
            ("SINGULARITY_DOCKER_USERNAME", "u"),
            ("SINGULARITY_DOCKER_PASSWORD", "p"),
            ("APPTAINER_NOHTTPS", "Yes"),
            ("APPTAINER_CACHEDIR", "/scratch/cache"),
            ("DOCKER_CONFIG", "docker"),
            ("PATH", "/bin:relative:/usr/bin"),
            ("CONDENSE_CACHE_SIZE", "3G"),
        ])?;
        let keyring = &found.access.keyring;
        assert!(keyring.given.is_some() && found.access.plain_http);
        let files: Vec<_> = keyring
            .docker_files
            .iter()
            .map(|p| p.display().to_string())
            .collect();
        assert_eq!(
            files,
            [
                "/home/me/.apptainer/docker-config.json",
                "/home/me/.singularity/docker-config.json",
                "/work dir/docker/config.json",
                "/home/me/.config/containers/auth.json",
            ]
        );
        assert_eq!(keyring.helper_dirs.len(), 2);
        let cache = found.cache.expect("a cache");
        assert_eq!(cache.dir, PathBuf::from("/scratch/cache/condense/oci"));
        assert_eq!(cache.size_max, 3 << 30);
        Ok(())
    }

    #[test]
    fn https_is_given_up_only_on_request() -> anyhow::Result<()> {
        for pairs in [
            &[][..],
            &[("APPTAINER_NOHTTPS", "0")],
            &[("SINGULARITY_NOHTTPS", "false")],
        ] {
            assert!(!read(pairs)?.access.plain_http);
        }
        Ok(())
    }

    #[test]
    fn half_a_login_and_no_size_are_refused() {
        for (pairs, word) in [
            (
                ("APPTAINER_DOCKER_USERNAME", "u"),
                "APPTAINER_DOCKER_PASSWORD",
            ),
            (
                ("APPTAINER_DOCKER_PASSWORD", "hunter2"),
                "APPTAINER_DOCKER_USERNAME",
            ),
            (("CONDENSE_CACHE_SIZE", "much"), "much"),
            (("CONDENSE_CACHE_SIZE", "99999999999G"), "99999999999G"),
        ] {
            let error = read(&[pairs]).expect_err(word).to_string();
            assert!(
                error.contains(word) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
