//! Responsible for the directories of blocks: which ones are trusted, and the user's own.

use std::{
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::DIR;
use crate::{
    cache::{ALL_OTHERS, Myself, OTHERS, STICKY, Standing, close, make},
    plan::BlockCacheSettings,
    report::Report,
};

/// Users whose files are used.
pub(super) struct Trust {
    users: Vec<u32>,
}

impl Trust {
    pub(super) fn own() -> Trust {
        let Myself { user, root, .. } = Myself::look();
        let mut users = root;
        users.push(user);
        Trust { users }
    }

    pub(super) fn contains(&self, user: u32) -> bool {
        self.users.contains(&user)
    }
}

/// Returns the directory of a site's cache without links, and the users whose files in it are used.
/// Nobody but root and these users may be able to put another directory in its place.
pub(super) fn trust_of_site(dir: &Path) -> Result<(PathBuf, Trust), String> {
    let text = |error: std::io::Error| error.to_string();
    if !dir.is_absolute() {
        return Err("its path is not absolute".to_owned());
    }
    let dir = std::fs::canonicalize(dir).map_err(text)?;
    let found = std::fs::metadata(&dir).map_err(text)?;
    if !found.is_dir() {
        return Err("it is no directory".to_owned());
    }
    if found.mode() & OTHERS != 0 {
        return Err("others can write into it".to_owned());
    }
    let mut trust = Trust::own();
    let (site, mut owner) = (found.uid(), found.uid());
    for parent in dir.ancestors().skip(1) {
        let found = std::fs::metadata(parent).map_err(text)?;
        let shown = parent.display();
        let is_open = found.mode() & OTHERS != 0;
        if is_open && found.mode() & STICKY == 0 {
            return Err(format!("others can write into `{shown}`"));
        }
        // Anybody can make a directory in one such as /tmp before the site does.
        if is_open && !trust.users.contains(&owner) {
            return Err(format!("another user may have made it in `{shown}`"));
        }
        owner = found.uid();
        if owner != site && !trust.users.contains(&owner) {
            return Err(format!("`{shown}` belongs to another user"));
        }
    }
    trust.users.push(site);
    Ok((dir, trust))
}

/// Returns the name of the directory of a user's blocks in a cache that is shared.
pub(in crate::cache) fn dir_of_user() -> String {
    format!("{DIR}-{}", rustix::process::geteuid().as_raw())
}

/// Returns the directory to which blocks are added, which is always below the cache of the
/// settings, unless the user has made a link there: in one that is shared, it is a directory for
/// this user alone.
///
/// # Errors
/// Returns the reason for which no blocks can be kept.
pub(super) fn own_dir(settings: &BlockCacheSettings, report: &Report) -> Result<PathBuf, String> {
    let cache = &settings.dir;
    let made = make(cache).and_then(|()| {
        if *cache == settings.own {
            close(cache, report)?;
        }
        Ok(())
    });
    match made.and_then(|()| Myself::look().standing(cache)) {
        Ok(Standing::Own) => find_or_make(&cache.join(DIR)),
        Ok(Standing::Shared) => {
            let dir = find_or_make(&cache.join(dir_of_user()))?;
            if is_closed(&dir) {
                return Ok(dir);
            }
            Err(format!("`{}` is not yours alone", dir.display()))
        }
        Ok(Standing::Foreign(why)) => Err(why),
        Err(error) => Err(error.to_string()),
    }
}

fn find_or_make(dir: &Path) -> Result<PathBuf, String> {
    if let Some(found) = find_part(dir)? {
        return Ok(found);
    }
    let made = make(dir).map(|()| dir.to_owned());
    made.map_err(|error| error.to_string())
}

/// Finds a directory in a cache. A link of this user or root is followed to a directory that nobody
/// else can change. Returns the directory without such a link, or `None` if nothing is there.
///
/// # Errors
/// Returns the reason for which the directory is not used.
pub(in crate::cache) fn find_part(dir: &Path) -> Result<Option<PathBuf>, String> {
    let shown = dir.display();
    let is_missing = |error: &std::io::Error| {
        matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
    };
    let found = match std::fs::symlink_metadata(dir) {
        Ok(found) => found,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(format!("`{shown}` cannot be read: {error}")),
    };
    if found.is_dir() {
        return Ok(Some(dir.to_owned()));
    }
    if !found.is_symlink() {
        return Err(format!("`{shown}` is no directory"));
    }
    let myself = Myself::look();
    if !myself.is_trusted(&found) {
        return Err(format!("the link `{shown}` belongs to another user"));
    }
    let target = match std::fs::canonicalize(dir) {
        Ok(target) => target,
        Err(error) if is_missing(&error) => {
            return Err(format!("the link `{shown}` leads nowhere"));
        }
        Err(error) => return Err(format!("the link `{shown}` cannot be followed: {error}")),
    };
    if !target.is_dir() {
        return Err(format!("the link `{shown}` leads to no directory"));
    }
    match myself.standing(&target) {
        Ok(Standing::Own) => Ok(Some(target)),
        Ok(Standing::Shared) => Err(format!("`{}` is shared with others", target.display())),
        Ok(Standing::Foreign(why)) => Err(why),
        Err(error) => Err(error.to_string()),
    }
}

/// Returns whether a directory belongs to this user, and others cannot enter it.
fn is_closed(dir: &Path) -> bool {
    std::fs::symlink_metadata(dir).is_ok_and(|found| {
        found.is_dir()
            && found.uid() == rustix::process::geteuid().as_raw()
            && found.mode() & ALL_OTHERS == 0
    })
}
