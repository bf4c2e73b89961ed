//! Responsible for the settings of the caches of compressed blocks.

use std::path::PathBuf;

use anyhow::bail;
use condense_build::plan::BlockCacheSettings;
use condense_diagnostics::UserError;
use condense_env_vars::{self as env_vars, EnvVars};

use super::registries::size;

/// Default size of the user's cache: blocks of some 12 environments of 500 MB in one half, and
/// unpacked packages of four in the other.
const SIZE_BYTES: u64 = 4 << 30;

/// Reads the settings of the caches of blocks from environment variables. `cache_dir` is the
/// directory of package archives. Returns `None` if the size is 0.
///
/// # Errors
/// Returns an error if the size is none.
pub(crate) fn read(
    env_vars: &EnvVars,
    cache_dir: PathBuf,
) -> anyhow::Result<Option<BlockCacheSettings>> {
    let settings = read_all(env_vars, cache_dir)?;
    Ok(Some(settings).filter(|settings| settings.size_max > 0))
}

/// Reads the settings as [`read`] does, with a size of 0 if the cache is switched off.
///
/// # Errors
/// Returns an error if the size is none.
pub(super) fn read_all(
    env_vars: &EnvVars,
    cache_dir: PathBuf,
) -> anyhow::Result<BlockCacheSettings> {
    let name = env_vars::CONDENSE_BLOCK_CACHE_SIZE;
    let text = env_vars.get(name);
    let size_max = match text.map(|text| (text, size(text))) {
        None => SIZE_BYTES,
        Some((_, Some(size))) => size,
        Some((text, None)) => bail!(UserError::new(
            format!("{name} `{text}` is not a size"),
            "write bytes, or a number with K, M or G: `5G`; 0 switches the cache off",
        )),
    };
    let sites = env_vars.get(env_vars::CONDENSE_BLOCK_CACHES);
    let sites = std::env::split_paths(sites.unwrap_or_default());
    Ok(BlockCacheSettings {
        dir: cache_dir,
        own: env_vars.own_cache_dir(),
        sites: sites.filter(|dir| !dir.as_os_str().is_empty()).collect(),
        size_max,
        is_size_set: text.is_some(),
    })
}
