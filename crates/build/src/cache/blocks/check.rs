//! Responsible for checking all blocks of the caches.

use std::path::{Path, PathBuf};

use super::{
    DIR, code,
    files::{list, open_pack},
    packages,
    place::{Trust, dir_of_user, find_part, trust_of_site},
};
use crate::{
    cache::{Myself, Standing},
    plan::BlockCacheSettings,
};

/// Result of checking all blocks of a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlocksChecked {
    /// Directory of the blocks.
    pub dir: PathBuf,
    /// Whether it is a directory to which this user's builds add blocks, not one of a site.
    pub is_own: bool,
    /// Reason for which builds do not use the directory or share the cache around it, if any.
    pub note: Option<String>,
    /// Number of files whose blocks are used.
    pub files: u64,
    /// Number of blocks whose content was compared with their keys.
    pub blocks: u64,
    /// Number of unpacked packages whose checksums are right.
    pub packages: u64,
    /// Files that are not used or have damaged blocks or byte code, with the reason.
    pub faults: Vec<(PathBuf, String)>,
}

impl BlockCacheSettings {
    /// Decompresses each block that is there, and compares its digest with its key. Byte code and
    /// unpacked packages that builds have kept are compared with their digests.
    pub fn verify(&self) -> Vec<BlocksChecked> {
        let mut caches = vec![&self.dir, &self.own];
        caches.dedup();
        let mut checked = Vec::new();
        for cache in caches {
            let note = match Myself::look().standing(cache) {
                Ok(Standing::Own) => None,
                Ok(Standing::Shared) => Some("shared with a group".to_owned()),
                Ok(Standing::Foreign(why)) => Some(format!("not used: {why}")),
                Err(error) => Some(format!("not used: {error}")),
            };
            for place in [cache.join(DIR), cache.join(dir_of_user())] {
                let one = match find_part(&place) {
                    Ok(None) => continue,
                    Ok(Some(dir)) => {
                        let mut checked = check(&dir, &Trust::own());
                        let codes = code::list(&dir).into_iter();
                        let faults =
                            codes.filter_map(|path| Some((code::verify(&path).err()?, path)));
                        checked.faults.extend(faults.map(|(why, path)| (path, why)));
                        checked
                    }
                    Err(why) => BlocksChecked {
                        dir: place.clone(),
                        faults: vec![(place, why)],
                        ..BlocksChecked::default()
                    },
                };
                checked.push(BlocksChecked {
                    is_own: true,
                    note: note.clone(),
                    ..one
                });
            }
        }
        for dir in &self.sites {
            checked.push(match trust_of_site(dir) {
                Ok((dir, trust)) => check(&dir, &trust),
                Err(why) => BlocksChecked {
                    dir: dir.clone(),
                    faults: vec![(dir.clone(), why)],
                    ..BlocksChecked::default()
                },
            });
        }
        checked
    }
}

fn check(dir: &Path, trust: &Trust) -> BlocksChecked {
    let mut checked = BlocksChecked {
        dir: dir.to_owned(),
        ..BlocksChecked::default()
    };
    for path in list(dir) {
        match open_pack(&path, trust) {
            Ok((pack, blocks)) => {
                let damaged = blocks.iter().filter(|block| !pack.verify(block)).count();
                checked.files += 1;
                checked.blocks += blocks.len() as u64;
                if damaged > 0 {
                    let why = format!("{damaged} of {} blocks are damaged", blocks.len());
                    checked.faults.push((path, why));
                }
            }
            Err(why) => checked.faults.push((path, why.to_string())),
        }
    }
    for path in packages::list(dir) {
        match packages::check(&path, trust) {
            Ok(()) => checked.packages += 1,
            Err(why) => checked.faults.push((path, why)),
        }
    }
    checked
}
