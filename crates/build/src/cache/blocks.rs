//! Responsible for the cache of compressed blocks: which of its files are trusted, looking blocks
//! up, adding those of a finished image, and its size.
//!
//! A cache is a directory of few files. Each holds the new blocks of one build, or those of several
//! that were merged. A file is complete before it gets its name, and never changes, so processes
//! need no locks against each other: one that misses a file compresses, nothing more.
//!
//! The bytes of a block are compared with a checksum when they are read, and again when the image
//! is read back. They are not decompressed: a key is a strong digest of the content, only trusted
//! users can have written the file, and the image that a block comes from was read back before the
//! block was kept. `condense cache verify` decompresses and compares each block with its key.
//!
//! Blocks of a site are decompressed and compared with the content before they are used, since a
//! fault of the site must not end the builds of its users.
//!
//! Beside the blocks are recorded starts, digests of base images and unpacked packages, each a file
//! of its own.

mod bases;
mod check;
mod code;
mod files;
mod packages;
mod place;
mod starts;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    fs::File,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use condense_image::{
    BlockDigests, BlockKey, BlockKeys, BlockPack, Image, KnownBlock, KnownBlocks, PackFault,
    PackSource, PackedBlock,
};

use crate::{plan::BlockCacheSettings, report::Report};
pub(crate) use bases::FileState;
pub use check::BlocksChecked;
use code::Codes;
use condense_prefix::{CodeKey, NewPackage, StartFiles};
pub(super) use files::is_own;
use files::{
    has_own_name, limit, merge, open_pack, recent, remove_if_same, remove_left_over, size_of, write,
};
use place::{Trust, own_dir, trust_of_site};
pub(super) use place::{dir_of_user, find_part};

/// Directory of blocks below a cache.
pub(super) const DIR: &str = "blocks";
/// Divisor of the free space of the file system, of which the cache takes one part.
const FREE_PARTS: u64 = 10;
/// Number of bytes of an entry of a file's index, and of its head and end, at most.
const ENTRY_BYTES: u64 = 64;

/// Open file of blocks of a cache.
struct OpenPack {
    path: PathBuf,
    pack: BlockPack,
    /// Whether this run has found a block in it.
    was_used: AtomicBool,
    /// Whether this run has found a block in it that was not as it was written.
    is_damaged: AtomicBool,
    /// Whether it is a site's, so that its blocks are compared with the content.
    is_site: bool,
}

/// Blocks that this user's builds, or those of a site, have compressed.
pub(crate) struct BlockCache {
    packs: Vec<OpenPack>,
    /// Number of the file, and place in it.
    places: HashMap<BlockKey, (usize, PackedBlock)>,
    /// Directory to which blocks are added, or the reason why there is none.
    own: Result<PathBuf, String>,
    settings: BlockCacheSettings,
    /// Byte code, which the first look opens.
    codes: OnceLock<Codes>,
    /// Receiver of notices while blocks are looked up.
    report: Report,
}

/// Finished image whose blocks are kept after it is published.
#[derive(Debug)]
pub(crate) struct Finished {
    image: Image,
    /// File of the image, which may get another name.
    file: File,
}

impl Finished {
    /// Opens an image that was read back.
    pub(crate) fn open(image: &Image) -> std::io::Result<Finished> {
        Ok(Finished {
            file: File::open(&image.path)?,
            image: image.without_evidence(),
        })
    }
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
    fn find(&self, key: &BlockKey, content: &[u8], out: &mut Vec<u8>) -> Option<KnownBlock> {
        let (number, block) = self.places.get(key)?;
        let pack = &self.packs[*number];
        if block.length as usize != content.len() {
            return None;
        }
        if pack.is_site {
            return self.find_of_site(pack, block, content, out);
        }
        if !block.is_stored && !pack.pack.read(block, out) {
            pack.is_damaged.store(true, Ordering::Relaxed);
            return None;
        }
        pack.was_used.store(true, Ordering::Relaxed);
        Some(if block.is_stored {
            KnownBlock::Stored
        } else {
            KnownBlock::Verified
        })
    }

    fn find_unread(&self, key: &BlockKey, length: usize, out: &mut Vec<u8>) -> bool {
        let Some((pack, block)) = self.unread(key) else {
            return false;
        };
        if block.length as usize != length {
            return false;
        }
        let is_found = pack.pack.read(block, out);
        let flag = if is_found {
            &pack.was_used
        } else {
            &pack.is_damaged
        };
        flag.store(true, Ordering::Relaxed);
        is_found
    }
}

impl BlockCache {
    /// Returns the place of a block that is found without its content: those of a site and those
    /// that are stored as they are need it.
    fn unread(&self, key: &BlockKey) -> Option<(&OpenPack, &PackedBlock)> {
        let (number, block) = self.places.get(key)?;
        let pack = &self.packs[*number];
        (!pack.is_site && !block.is_stored).then_some((pack, block))
    }

    /// Returns whether the block with a digest ([`BlockDigests`]) is found without its content.
    pub(crate) fn knows_unread(&self, keys: &BlockKeys, digest: &[u8]) -> bool {
        let strong = digest.first_chunk::<32>();
        let is_known = |strong| self.unread(&keys.of_digest(strong)).is_some();
        BlockDigests::is_of_zeros(digest) || strong.is_some_and(is_known)
    }

    /// Returns a block of a site if its bytes are those of the content. A block that is said to be
    /// stored is compressed anyway, since nothing else tells whether it can be.
    fn find_of_site(
        &self,
        pack: &OpenPack,
        block: &PackedBlock,
        content: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<KnownBlock> {
        if block.is_stored || pack.is_damaged.load(Ordering::Relaxed) {
            return None;
        }
        let start = out.len();
        if pack.pack.read(block, out) && pack.pack.is_content(&out[start..], content) {
            return Some(KnownBlock::Verified);
        }
        out.truncate(start);
        if !pack.is_damaged.swap(true, Ordering::Relaxed) {
            self.report.warning(format!(
                "`{}` has a block that is not what its key says: the file is used no more",
                pack.path.display()
            ));
        }
        None
    }

    /// Opens the caches of the settings: the user's own, then those of the site. What cannot be
    /// trusted or read is left out.
    pub(crate) fn open(settings: &BlockCacheSettings, report: &Report) -> BlockCache {
        let mut cache = BlockCache {
            packs: Vec::new(),
            places: HashMap::new(),
            own: own_dir(settings, report),
            settings: settings.clone(),
            codes: OnceLock::new(),
            report: report.without_blocks(),
        };
        if let Ok(own) = cache.own.clone() {
            cache.read(&own, &Trust::own(), false);
        }
        for dir in &settings.sites {
            match trust_of_site(dir) {
                Ok((dir, trust)) => cache.read(&dir, &trust, true),
                Err(why) => report.warning(format!(
                    "the cache of blocks `{}` is not used: {why}",
                    dir.display()
                )),
            }
        }
        cache
    }

    fn read(&mut self, dir: &Path, trust: &Trust, is_site: bool) {
        for path in recent(dir) {
            let opened = open_pack(&path, trust);
            let (pack, blocks) = match opened {
                Ok(opened) => opened,
                Err(PackFault::Io(error)) if error.kind() == ErrorKind::NotFound => continue,
                Err(why) => {
                    let text = format!("`{}` is not used: {why}", path.display());
                    self.report.debug(text);
                    continue;
                }
            };
            let number = self.packs.len();
            self.packs.push(OpenPack {
                path,
                pack,
                was_used: AtomicBool::new(false),
                is_damaged: AtomicBool::new(false),
                is_site,
            });
            for block in blocks {
                self.places.entry(block.key).or_insert((number, block));
            }
        }
    }

    /// Opens the unpacked package whose archive has this SHA-256 digest, if an earlier build has
    /// kept it.
    pub(crate) fn package(&self, sha256: &[u8; 32]) -> Option<fs_err::File> {
        packages::open(self.own.as_ref().ok()?, sha256)
    }

    /// Removes the file of an unpacked package, which is damaged.
    pub(crate) fn remove_package(&self, sha256: &[u8; 32]) {
        if let Ok(own) = &self.own {
            packages::remove(own, sha256);
        }
    }

    /// Removes a file, which is damaged, if it is an unpacked package.
    pub(crate) fn remove_damaged(&self, path: &Path) {
        let name = path.file_name().and_then(|name| name.to_str());
        let is_own = self
            .own
            .as_ref()
            .is_ok_and(|own| path.parent() == Some(own));
        if is_own && name.is_some_and(packages::is_package) {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Returns whether unpacked packages can be kept.
    pub(crate) fn keeps_packages(&self) -> bool {
        self.own.is_ok()
    }

    /// Keeps unpacked packages for later builds, as far as there is room. A failure is only a
    /// detail: later builds unpack the archives again.
    pub(crate) fn keep_packages(&self, new: &[NewPackage], cancel: &AtomicBool) {
        let Ok(own) = &self.own else {
            return;
        };
        remove_left_over(own);
        let size_max = self.settings.limit_of(own);
        let (kept, result) = packages::keep(own, new, size_max, cancel);
        if let Err(error) = result {
            let text = format!("not all unpacked packages are kept: {error}");
            self.report.debug(text);
        }
        if kept > 0 {
            let text = format!(
                "{} of unpacked packages are kept for later builds",
                indicatif::HumanBytes(kept)
            );
            self.report.debug(text);
        }
    }

    /// Returns the files that a start reads, if a start of the same environment was kept.
    pub(crate) fn known_start(&self, key: &str) -> Option<StartFiles> {
        starts::read(self.own.as_ref().ok()?, key)
    }

    /// Keeps the files that a start reads for later builds of the same environment. A failure is
    /// only a detail: the next build makes the start again.
    pub(crate) fn keep_start(&self, key: &str, files: &StartFiles) {
        if let Ok(own) = &self.own
            && let Err(error) = starts::write(own, key, files)
        {
            let text = format!("the recorded start is not kept: {error}");
            self.report.debug(text);
        }
    }

    /// Returns the SHA-256 digest of a base image, if it was kept while the file had this state.
    pub(crate) fn known_base(&self, state: &FileState) -> Option<String> {
        bases::read(self.own.as_ref().ok()?, state)
    }

    /// Keeps the digest of a base image for later builds. A failure is only a detail: the next
    /// build reads the base again.
    pub(crate) fn keep_base(&self, state: &FileState, digest: &str) {
        if let Ok(own) = &self.own
            && let Err(error) = bases::write(own, state, digest)
        {
            let text = format!("the digest of the base is not kept: {error}");
            self.report.debug(text);
        }
    }

    /// Returns byte code of batches with these keys, in their order.
    pub(crate) fn known_code(&self, keys: &[CodeKey]) -> Vec<Option<Vec<u8>>> {
        let Ok(own) = &self.own else {
            return vec![None; keys.len()];
        };
        let codes = self.codes.get_or_init(|| Codes::open(own));
        keys.iter().map(|key| codes.find(key)).collect()
    }

    /// Keeps byte code for later builds. A failure is only a detail: they compile again.
    pub(crate) fn keep_code(&self, entries: &[(CodeKey, Vec<u8>)]) {
        if let Ok(own) = &self.own
            && let Err(error) = self.write_code(own, entries)
        {
            let text = format!("byte code is not kept: {error}");
            self.report.debug(text);
        }
    }

    fn write_code(&self, own: &Path, entries: &[(CodeKey, Vec<u8>)]) -> std::io::Result<()> {
        let (needed, size_max) = (code::size_of(entries), self.settings.limit_of(own));
        if needed > size_max {
            let why = self.settings.no_room(needed, size_max);
            return Err(std::io::Error::other(why));
        }
        // What was used longest ago goes when the blocks of this build are kept.
        code::write(own, entries)
    }

    /// Adds the new blocks of images that were read back, and notes which files were used. A
    /// failure is reported, and the build goes on.
    pub(crate) fn keep(&self, finished: &[Finished], report: &Report) {
        let blocks = || finished.iter().flat_map(|one| &one.image.blocks);
        // Blocks that this build has packed ahead were known as well, but not to an earlier one.
        let sum = |was_known| {
            let is_of_cache = |it: &PackedBlock| it.was_known && self.places.contains_key(&it.key);
            let blocks = blocks().filter(|it| is_of_cache(it) == was_known);
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
        let own = match &self.own {
            Ok(own) => own,
            Err(why) => {
                if anew > 0 {
                    report.info(not_kept("the", &self.settings.dir, why));
                }
                return;
            }
        };
        for used in &self.packs {
            if used.is_condense_s() && used.was_used.load(Ordering::Relaxed) {
                // Times of a cache that is only read stay as they are.
                let _ = used.pack.file().set_modified(SystemTime::now());
            }
        }
        remove_left_over(own);
        let size_max = self.settings.limit_of(own);
        let cancel = report.cancel_flag();
        let (mut kept, mut problem) = (0, None);
        for one in finished {
            match self.add(own, one, (kept, size_max), &cancel) {
                Ok(bytes) => kept += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        if let Some(error) = problem {
            let which = if kept > 0 { "some" } else { "the" };
            report.info(not_kept(which, own, &error));
        }
        if let Err(error) = self.tidy(own, size_max, &cancel) {
            report.debug(format!("`{}` is not put in order: {error}", own.display()));
        }
        limit(own, size_max);
        if kept > 0 {
            report.info(format!(
                "{} of compressed blocks are kept for later builds in {}",
                indicatif::HumanBytes(kept),
                own.display()
            ));
        }
    }

    /// Writes the new blocks of an image, unless there is no room for them beside the `kept` bytes
    /// that this build has added. Returns their size.
    fn add(
        &self,
        own: &Path,
        finished: &Finished,
        (kept, size_max): (u64, u64),
        cancel: &AtomicBool,
    ) -> std::io::Result<u64> {
        let Finished { image, file } = finished;
        let mut seen = HashSet::new();
        // Files with damage are removed, so what this image has of them is written anew. Blocks
        // that a site has stored are never taken.
        let is_kept = |key| {
            let place = self.places.get(key);
            place.is_some_and(|(number, block)| {
                let pack = &self.packs[*number];
                !(pack.is_damaged() || pack.is_site && block.is_stored)
            })
        };
        let anew = image
            .blocks
            .iter()
            .filter(|block| !is_kept(&block.key) && seen.insert(block.key));
        let blocks: Vec<PackedBlock> = anew.copied().collect();
        let bytes: u64 = blocks.iter().map(|block| u64::from(block.packed)).sum();
        let needed = bytes + (blocks.len() as u64 + 2) * ENTRY_BYTES;
        let Some(format) = image.block_format else {
            return Ok(0);
        };
        if blocks.is_empty() {
            return Ok(0);
        }
        // A cache that has no room for one build would only be written and removed.
        if kept + needed > size_max {
            let why = self.settings.no_room(kept + needed, size_max);
            return Err(std::io::Error::other(why));
        }
        limit(own, size_max - needed);
        let source = PackSource {
            file,
            offset: image.offset_bytes,
            blocks,
        };
        let codec = image.compression.codec();
        write(own, codec, format, &[source], None, cancel)?;
        Ok(bytes)
    }

    /// Removes files with damage, and merges small ones.
    fn tidy(&self, own: &Path, size_max: u64, cancel: &AtomicBool) -> std::io::Result<()> {
        let own_packs = self.packs.iter().filter(|it| it.is_condense_s());
        let damaged = own_packs.filter(|it| it.is_damaged());
        // A new file may have the name of a damaged one, if it has the same blocks.
        let removed = damaged.map(remove_if_same).fold(Ok(()), Result::and);
        removed.and(merge(own, size_max, cancel))
    }
}

impl OpenPack {
    /// Returns whether condense has written the file, and may change and remove it.
    fn is_condense_s(&self) -> bool {
        !self.is_site && has_own_name(&self.path)
    }

    fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }
}

/// Returns the notice that blocks of a build are lost: `the` blocks, or `some`.
fn not_kept(which: &str, dir: &Path, why: impl fmt::Display) -> String {
    let shown = dir.display();
    format!("{which} blocks of this build are not kept in `{shown}`: {why}")
}

impl BlockCacheSettings {
    fn no_room(&self, needed: u64, size_max: u64) -> String {
        let [needed, room] = [needed, size_max].map(indicatif::HumanBytes);
        let limit = if size_max < self.size_max {
            "the free space allows"
        } else {
            "CONDENSE_BLOCK_CACHE_SIZE allows"
        };
        format!("they take {needed}, and {limit} {room}")
    }

    /// Returns the maximum size of a directory of blocks. Unless the user has set one, it is also
    /// what the directory has now and a tenth of the free space.
    fn limit_of(&self, dir: &Path) -> u64 {
        if self.is_size_set {
            return self.size_max;
        }
        let free = rustix::fs::statvfs(dir).map_or(0, |found| found.f_bavail * found.f_frsize);
        self.size_max.min(size_of(dir) + free / FREE_PARTS)
    }
}

#[cfg(test)]
mod tests;
