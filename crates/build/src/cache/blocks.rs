//! Responsible for the cache of compressed blocks: which of its files are trusted, looking blocks
//! up, adding those of a finished image, and its size.
//!
//! A cache is a directory of few files. Each holds the new blocks of one build, or those of several
//! that were merged. A file is complete before it gets its name, and never changes, so processes
//! need no locks against each other: one that misses a file compresses, nothing more.
//!
//! The bytes of a block are compared with a checksum when they are read. They are not decompressed:
//! a key is a strong digest of the content, only trusted users can have written the file, and each
//! image is read back before it is published, with the blocks that were found. `condense cache
//! verify` decompresses and compares each block with its key.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    fs::{File, TryLockError},
    io::ErrorKind,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};

use condense_image::{
    BlockKey, BlockPack, Image, KnownBlock, KnownBlocks, PackFault, PackSource, PackedBlock,
    write_block_pack,
};
use rustix::fs::OFlags;

use super::{Myself, OTHERS, STICKY, Standing, close, make};
use crate::{plan::BlockCacheSettings, report::Report};

/// Directory of blocks below a cache.
pub(super) const DIR: &str = "blocks";
/// End of the names of files of blocks.
const SUFFIX: &str = ".blocks";
/// Beginning of the names of files that are not complete.
const INCOMPLETE: &str = ".new-";
/// Maximum number of files that are read in a directory.
const FILES_MAX: usize = 256;
/// Number of files above which the smaller half is merged into one.
const FILES_BEFORE_MERGE: usize = 24;
/// Time after which an incomplete file is left over even where files cannot be locked.
const LEFT_OVER_AFTER: Duration = Duration::from_secs(24 * 3600);
const OTHERS_WRITE: u32 = 0o002;

/// Open file of blocks of a cache.
struct OpenPack {
    path: PathBuf,
    pack: BlockPack,
    /// Whether this run has found a block in it.
    was_used: AtomicBool,
    /// Whether this run has found a block in it that was not as it was written.
    is_damaged: AtomicBool,
}

/// Blocks that this user's builds, or those of a site, have compressed.
pub(crate) struct BlockCache {
    packs: Vec<OpenPack>,
    /// Number of the file, and place in it.
    places: HashMap<BlockKey, (usize, PackedBlock)>,
    /// Directory to which blocks are added.
    own: Option<PathBuf>,
    size_max: u64,
}

impl fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockCache")
            .field("packs", &self.packs.len())
            .field("places", &self.places.len())
            .finish_non_exhaustive()
    }
}

impl KnownBlocks for BlockCache {
    fn find(&self, key: &BlockKey, length: usize, out: &mut Vec<u8>) -> Option<KnownBlock> {
        let (number, block) = self.places.get(key)?;
        let pack = &self.packs[*number];
        if block.length as usize != length {
            return None;
        }
        if !block.is_stored && !pack.pack.read(block, out) {
            pack.is_damaged.store(true, Ordering::Relaxed);
            return None;
        }
        pack.was_used.store(true, Ordering::Relaxed);
        Some(if block.is_stored {
            KnownBlock::Stored
        } else {
            KnownBlock::Compressed
        })
    }
}

impl BlockCache {
    /// Opens the caches of the settings: the user's own, then those of the site. What cannot be
    /// trusted or read is left out.
    pub(crate) fn open(settings: &BlockCacheSettings, report: &Report) -> BlockCache {
        let mut cache = BlockCache {
            packs: Vec::new(),
            places: HashMap::new(),
            own: own_dir(settings, report),
            size_max: settings.size_max,
        };
        if let Some(own) = cache.own.clone() {
            cache.read(&own, &Trust::own(), report);
        }
        for dir in &settings.sites {
            match trust_of_site(dir) {
                Ok((dir, trust)) => cache.read(&dir, &trust, report),
                Err(why) => report.warning(format!(
                    "the cache of blocks `{}` is not used: {why}",
                    dir.display()
                )),
            }
        }
        cache
    }

    fn read(&mut self, dir: &Path, trust: &Trust, report: &Report) {
        for path in list(dir) {
            let opened = open_pack(&path, trust);
            let (pack, blocks) = match opened {
                Ok(opened) => opened,
                Err(PackFault::Io(error)) if error.kind() == ErrorKind::NotFound => continue,
                Err(why) => {
                    report.debug(format!("`{}` is not used: {why}", path.display()));
                    continue;
                }
            };
            let number = self.packs.len();
            self.packs.push(OpenPack {
                path,
                pack,
                was_used: AtomicBool::new(false),
                is_damaged: AtomicBool::new(false),
            });
            for block in blocks {
                self.places.entry(block.key).or_insert((number, block));
            }
        }
    }

    /// Adds the new blocks of an image that was read back, and notes which files were used. A
    /// failure is reported, and the build goes on.
    pub(crate) fn keep(&self, image: &Image, report: &Report) {
        let sum = |was_known| {
            let blocks = image.blocks.iter().filter(|it| it.was_known == was_known);
            blocks.map(|it| u64::from(it.length)).sum::<u64>()
        };
        let (known, anew) = (sum(true), sum(false));
        if known > 0 {
            report.info(format!(
                "{} of {} were compressed by earlier builds, {} by this one",
                indicatif::HumanBytes(known),
                indicatif::HumanBytes(known + anew),
                indicatif::HumanBytes(anew)
            ));
        }
        let Some(own) = &self.own else {
            return;
        };
        for used in &self.packs {
            if used.path.starts_with(own) && used.was_used.load(Ordering::Relaxed) {
                // Times of a cache that is only read stay as they are.
                let _ = used.pack.file().set_modified(SystemTime::now());
            }
        }
        if let Err(error) = self.add(own, image) {
            let text = format!(
                "the blocks of this build are not kept in `{}`: {error}",
                own.display()
            );
            match error.kind() {
                ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => report.debug(text),
                _ => report.info(text),
            }
        }
    }

    fn add(&self, own: &Path, image: &Image) -> std::io::Result<()> {
        remove_left_over(own);
        let mut seen = HashSet::new();
        // Files with damage are removed, so what this image has of them is written anew.
        let is_damaged = |pack: &OpenPack| pack.is_damaged.load(Ordering::Relaxed);
        let is_kept = |key| {
            let place = self.places.get(key);
            place.is_some_and(|(number, _)| !is_damaged(&self.packs[*number]))
        };
        let anew = image
            .blocks
            .iter()
            .filter(|block| !is_kept(&block.key) && seen.insert(block.key));
        let blocks: Vec<PackedBlock> = anew.copied().collect();
        let bytes: u64 = blocks.iter().map(|block| u64::from(block.packed)).sum();
        let Some(format) = image.block_format else {
            return Ok(());
        };
        // A cache that has no room for one build would only be written and removed.
        if !blocks.is_empty() && bytes < self.size_max {
            let file = File::open(&image.path)?;
            let source = PackSource {
                file: &file,
                offset: image.offset_bytes,
                blocks,
            };
            write(own, image.compression.codec(), format, &[source], None)?;
        }
        for pack in &self.packs {
            if is_damaged(pack) && pack.path.starts_with(own) {
                // A new file may have its name, if it has the same blocks.
                remove_if_same(pack)?;
            }
        }
        merge(own, self.size_max)?;
        limit(own, self.size_max);
        Ok(())
    }
}

/// Removes a file, unless another one has its name by now.
fn remove_if_same(pack: &OpenPack) -> std::io::Result<()> {
    let (opened, named) = (
        pack.pack.file().metadata()?,
        open_file(&pack.path)?.metadata()?,
    );
    if (opened.dev(), opened.ino()) == (named.dev(), named.ino()) {
        std::fs::remove_file(&pack.path)?;
    }
    Ok(())
}

/// Writes a file of blocks and gives it its name. Its modification time is the time of its last
/// use, which is now unless `used` says otherwise.
fn write(
    dir: &Path,
    codec: condense_image::Codec,
    format: [u8; 32],
    sources: &[PackSource<'_>],
    used: Option<SystemTime>,
) -> std::io::Result<PathBuf> {
    let new = tempfile::Builder::new()
        .prefix(INCOMPLETE)
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(dir)?;
    // A file that is locked is not left over. Without locks, its age decides.
    let _ = new.as_file().try_lock();
    let (count, hash) = write_block_pack(new.as_file(), codec, format, sources)?;
    if let Some(used) = used {
        new.as_file().set_modified(used)?;
    }
    // Two builds with the same new blocks write the same file, and one of them is enough.
    let name = format!("{}-{count}-{hash:016x}{SUFFIX}", hex::encode(&format[..4]));
    let path = dir.join(name);
    new.persist(&path).map_err(|error| error.error)?;
    Ok(path)
}

/// Removes incomplete files of processes that have ended.
fn remove_left_over(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(INCOMPLETE.as_bytes())
        {
            continue;
        }
        let path = entry.path();
        let Ok(file) = open_file(&path) else {
            continue;
        };
        let is_left_over = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(_)) => age(&file) > LEFT_OVER_AFTER,
        };
        if is_left_over {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn age(file: &File) -> Duration {
    let modified = file.metadata().and_then(|found| found.modified());
    modified
        .ok()
        .and_then(|time| SystemTime::now().duration_since(time).ok())
        .unwrap_or_default()
}

/// Opened file of a cache, and the time of its last use.
struct Aged {
    path: PathBuf,
    used: SystemTime,
    pack: BlockPack,
    blocks: Vec<PackedBlock>,
}

fn aged(dir: &Path) -> Vec<Aged> {
    let trust = Trust::own();
    let mut found = Vec::new();
    for path in list(dir) {
        let Ok((pack, blocks)) = open_pack(&path, &trust) else {
            continue;
        };
        let used = pack.file().metadata().and_then(|found| found.modified());
        found.push(Aged {
            path,
            used: used.unwrap_or(SystemTime::UNIX_EPOCH),
            pack,
            blocks,
        });
    }
    found
}

/// Merges the smaller half of the files of one format if there are many.
fn merge(dir: &Path, size_max: u64) -> std::io::Result<()> {
    let mut files = aged(dir);
    if files.len() <= FILES_BEFORE_MERGE {
        return Ok(());
    }
    files.sort_by_key(|file| file.pack.size());
    files.truncate(FILES_BEFORE_MERGE / 2);
    let mut formats: HashMap<[u8; 32], Vec<Aged>> = HashMap::new();
    for file in files {
        formats.entry(file.pack.format()).or_default().push(file);
    }
    for (format, files) in formats {
        let size: u64 = files.iter().map(|file| file.pack.size()).sum();
        // Files are removed whole, so none may be a large part of the cache.
        if files.len() < 2 || size > size_max / 4 {
            continue;
        }
        let mut seen = HashSet::new();
        let sources = files.iter().map(|file| PackSource {
            file: file.pack.file(),
            offset: 0,
            blocks: {
                let blocks = file.blocks.iter().filter(|block| seen.insert(block.key));
                blocks.copied().collect()
            },
        });
        let sources: Vec<PackSource<'_>> = sources.collect();
        let used = files.iter().map(|file| file.used).max();
        let merged = write(dir, files[0].pack.codec(), format, &sources, used)?;
        for file in &files {
            if file.path != merged {
                let _ = std::fs::remove_file(&file.path);
            }
        }
    }
    Ok(())
}

/// Removes the files that were used longest ago until the others fit.
fn limit(dir: &Path, size_max: u64) {
    let found = list(dir).into_iter().filter_map(|path| {
        let found = std::fs::symlink_metadata(&path).ok()?;
        Some((found.modified().ok()?, found.len(), path))
    });
    let mut found: Vec<(SystemTime, u64, PathBuf)> = found.collect();
    found.sort();
    let mut size: u64 = found.iter().map(|(_, size, _)| size).sum();
    for (_, bytes, path) in found {
        if size <= size_max {
            return;
        }
        if std::fs::remove_file(path).is_ok() {
            size -= bytes;
        }
    }
}

/// Lists the files of blocks in a directory, in the order of their names.
fn list(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut names: Vec<_> = names
        .filter(|name| {
            let name = name.as_encoded_bytes();
            name.ends_with(SUFFIX.as_bytes()) && !name.starts_with(b".")
        })
        .collect();
    names.sort();
    names.truncate(FILES_MAX);
    names.into_iter().map(|name| dir.join(name)).collect()
}

/// Opens a file for reading. A link is not followed, and a pipe is not waited for.
fn open_file(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

fn open_pack(path: &Path, trust: &Trust) -> Result<(BlockPack, Vec<PackedBlock>), PackFault> {
    let file = open_file(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(PackFault::Damaged("it is no file"));
    }
    if !trust.users.contains(&found.uid()) {
        return Err(PackFault::Damaged("it belongs to another user"));
    }
    if found.mode() & OTHERS != 0 {
        return Err(PackFault::Damaged("others can write into it"));
    }
    BlockPack::open(file)
}

/// Users whose files are used.
struct Trust {
    users: Vec<u32>,
}

impl Trust {
    fn own() -> Trust {
        let Myself { user, root, .. } = Myself::look();
        let mut users = root;
        users.push(user);
        Trust { users }
    }
}

/// Returns the directory of a site's cache without links, and the users whose files in it are used.
/// Nobody but root and these users may be able to put another directory in its place.
fn trust_of_site(dir: &Path) -> Result<(PathBuf, Trust), String> {
    let text = |error: std::io::Error| error.to_string();
    if !dir.is_absolute() {
        return Err("its path is not absolute".to_owned());
    }
    let dir = std::fs::canonicalize(dir).map_err(text)?;
    let found = std::fs::metadata(&dir).map_err(text)?;
    if !found.is_dir() {
        return Err("it is no directory".to_owned());
    }
    if found.mode() & OTHERS_WRITE != 0 {
        return Err("everybody can write into it".to_owned());
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

/// Returns the directory to which blocks are added: in the cache that is set, if it belongs to this
/// user alone, else in the user's own cache.
fn own_dir(settings: &BlockCacheSettings, report: &Report) -> Option<PathBuf> {
    let mut tried: Vec<&Path> = Vec::new();
    for cache in [&settings.dir, &settings.own] {
        if tried.contains(&cache.as_path()) {
            continue;
        }
        tried.push(cache);
        let dir = cache.join(DIR);
        let made = make(cache).and_then(|()| {
            if *cache == settings.own {
                close(cache, report)?;
            }
            Ok(())
        });
        let standing = made.and_then(|()| Myself::look().standing(cache));
        match standing {
            // A cache that cannot be written is still read.
            Ok(Standing::Own) if make(&dir).is_ok() || dir.is_dir() => return Some(dir),
            Ok(Standing::Own) => {}
            Ok(Standing::Shared) => report.debug(format!(
                "`{}` is shared: blocks are kept elsewhere",
                cache.display()
            )),
            Ok(Standing::Foreign(why)) => {
                report.debug(format!(
                    "blocks are not kept in `{}`: {why}",
                    cache.display()
                ));
            }
            Err(error) => report.debug(format!(
                "blocks are not kept in `{}`: {error}",
                cache.display()
            )),
        }
    }
    None
}

/// Result of checking all blocks of a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlocksChecked {
    /// Directory of the blocks.
    pub dir: PathBuf,
    /// Number of files whose blocks are used.
    pub files: u64,
    /// Number of blocks whose content was compared with their keys.
    pub blocks: u64,
    /// Files that are not used or have damaged blocks, with the reason.
    pub faults: Vec<(PathBuf, String)>,
}

impl BlockCacheSettings {
    /// Decompresses each block, and compares its digest with its key.
    pub fn verify(&self) -> Vec<BlocksChecked> {
        let mut own = vec![self.dir.join(DIR), self.own.join(DIR)];
        own.dedup();
        let own = own
            .into_iter()
            .filter(|dir| dir.is_dir())
            .map(|dir| (dir, Ok(Trust::own())));
        let sites = self.sites.iter().map(|dir| match trust_of_site(dir) {
            Ok((dir, trust)) => (dir, Ok(trust)),
            Err(why) => (dir.clone(), Err(why)),
        });
        own.chain(sites).map(check).collect()
    }
}

fn check((dir, trust): (PathBuf, Result<Trust, String>)) -> BlocksChecked {
    let mut checked = BlocksChecked {
        dir: dir.clone(),
        ..BlocksChecked::default()
    };
    let trust = match trust {
        Ok(trust) => trust,
        Err(why) => {
            checked.faults.push((dir, why));
            return checked;
        }
    };
    for path in list(&dir) {
        match open_pack(&path, &trust) {
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
    checked
}

#[cfg(test)]
mod tests;
