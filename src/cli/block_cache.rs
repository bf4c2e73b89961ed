//! Responsible for the settings of the caches of compressed blocks.

use std::path::PathBuf;

use anyhow::bail;
use condense_build::plan::BlockCacheSettings;
use condense_diagnostics::UserError;
use condense_env_vars::{self as env_vars, EnvVars};

use super::registries::size;

/// Default size of the user's blocks: those of some 30 environments of 500 MB.
pub(super) const SIZE_BYTES: u64 = 5 << 30;

/// Reads the settings of the caches of blocks from environment variables. `cache_dir` is the
/// directory of package archives. Returns `None` if the size is 0.
///
/// # Errors
/// Returns an error if the size is none.
pub(crate) fn read(
    env_vars: &EnvVars,
    cache_dir: PathBuf,
) -> anyhow::Result<Option<BlockCacheSettings>> {
    let name = env_vars::CONDENSE_BLOCK_CACHE_SIZE;
    let size_max = match env_vars.get(name).map(|text| (text, size(text))) {
        None => SIZE_BYTES,
        Some((_, Some(0))) => return Ok(None),
        Some((_, Some(size))) => size,
        Some((text, None)) => bail!(UserError::new(
            format!("{name} `{text}` is not a size"),
            "write bytes, or a number with K, M or G: `5G`; 0 switches the cache off",
        )),
    };
    let sites = env_vars.get(env_vars::CONDENSE_BLOCK_CACHES);
    let sites = std::env::split_paths(sites.unwrap_or_default());
    Ok(Some(BlockCacheSettings {
        dir: cache_dir,
        own: env_vars.own_cache_dir(),
        sites: sites.filter(|dir| !dir.as_os_str().is_empty()).collect(),
        size_max,
    }))
}
