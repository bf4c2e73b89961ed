//! Responsible for files of packages that are held back: they are part of the environment and of
//! its image, but are no files in the prefix in scratch. Their contents are in the spool.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    ffi::{OsStr, OsString},
    fs::File,
    io::{Read, Write},
    num::NonZeroUsize,
    ops::Bound,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use condense_within::Within;

use crate::{
    error::Error,
    link::{HeldEntry, HeldKind, Linked, for_each},
    package::NewPackage,
    progress::Progress,
    spool::{Attached, BLOCK_BYTES, KnownByteCode, Member, Part, Spool},
    target::Place,
};

/// Number of links that are followed in a path: the limit of the Linux kernel.
const LINKS_MAX: usize = 40;
/// Number of threads that copy files at most.
const WRITERS_MAX: usize = 8;
/// Size of the pieces in which a file is read into the spool, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// Files and links that are held back, by their paths in the environment.
#[derive(Debug, Clone)]
pub struct Held {
    spool: Arc<Spool>,
    /// Attached files of the spool.
    attached: Vec<Attached>,
    /// Files with their contents. A file with several names (hard links) is here once.
    files: Vec<HeldFile>,
    names: BTreeMap<PathBuf, HeldName>,
    /// Paths at which a copy is in the prefix, for a program that runs during the build.
    copies: HashSet<PathBuf>,
    /// Packages that this build has unpacked.
    new_packages: Vec<NewPackage>,
}

/// File that is held back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeldFile {
    pub(crate) part: Part,
    is_executable: bool,
    /// Modification time in seconds since 1970.
    pub(crate) modified: i64,
}

#[derive(Debug, Clone)]
enum HeldName {
    /// Name of the file with this number.
    File(usize),
    /// Link with its target.
    Link(PathBuf),
}

/// Contents of a path that is held back.
#[derive(Debug, Clone, Copy)]
pub enum HeldContents<'a> {
    /// A file: a part of an open file.
    File {
        /// Open file with the contents.
        file: &'a Arc<fs_err::File>,
        /// Number of the file. Names of one file (hard links) have the same number.
        number: usize,
        /// Position of the first byte in the open file.
        offset: u64,
        /// First bytes of the file, if they are others than in the open file.
        head: Option<[u8; 16]>,
        /// Size of the file in bytes.
        bytes: u64,
        /// Whether anyone may execute the file.
        is_executable: bool,
        /// Digests of the file's whole blocks of 128 KiB, if they are known: [`block_digest`] of
        /// each, among those of other files, and the number of the first one. The contents may not
        /// have been compared with them.
        ///
        /// [`block_digest`]: crate::block_digest
        digests: Option<(&'a Arc<[u8]>, usize)>,
    },
    /// A symbolic link with its target.
    Link(&'a Path),
}

impl Held {
    /// Returns the open file of this build. Contents of packages that earlier builds have unpacked
    /// are elsewhere until [`Self::gather`].
    pub fn spool(&self) -> &Arc<fs_err::File> {
        self.spool.file()
    }

    /// Returns the position behind all contents in the open file of this build. Its first 4096
    /// bytes are unused.
    pub fn end_bytes(&self) -> u64 {
        self.spool.end()
    }

    /// Returns whether contents of packages that earlier builds have unpacked are elsewhere.
    pub fn is_elsewhere(&self) -> bool {
        !self.attached.is_empty()
    }

    /// Copies all contents that are elsewhere into the open file of this build.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if a file cannot be read or written, and [`Error::Interrupted`].
    pub fn gather(&mut self, progress: &dyn Progress) -> Result<(), Error> {
        let attached = &self.attached;
        let order: Vec<usize> = (0..attached.len()).collect();
        let places = for_each(&order, progress, &|number| {
            let Attached { file, .. } = &attached[number];
            let failed = || Error::io("copy", file.path());
            let length = file.metadata().map_err(failed())?.len();
            let stopped = || progress.cancelled();
            match attached[number].compare_all(&stopped) {
                Err(_) if progress.cancelled() => return Err(Error::Interrupted),
                compared => compared.map_err(failed())?,
            }
            match self.spool.copy_in(file, length, &stopped) {
                Err(_) if progress.cancelled() => Err(Error::Interrupted),
                copied => copied.map_err(failed()),
            }
        })?;
        let places: HashMap<usize, Part> = places.into_iter().collect();
        for file in &mut self.files {
            let Member::Attached(number) = file.part.file else {
                continue;
            };
            let part = places[&number].below(file.part);
            if let Some(head) = part.head {
                let written = self.spool.write(part, 0, &head);
                written.map_err(Error::io("write", self.spool.file().path()))?;
            }
            file.part = Part { head: None, ..part };
        }
        self.attached.clear();
        self.spool.detach();
        Ok(())
    }

    /// Takes the packages that this build has unpacked, for later builds.
    pub fn take_new_packages(&mut self) -> Vec<NewPackage> {
        std::mem::take(&mut self.new_packages)
    }

    /// Copies everything into the prefix, for programs that need it there. The copies do not count.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if a file cannot be written, and [`Error::LeadsOut`] if a link leads
    /// out of the environment.
    pub fn copy_all(&mut self, place: &Place) -> Result<(), Error> {
        self.copy_out(&place.open_env()?, &|_| true)
    }

    /// Returns an iterator over everything that is held back, sorted by the paths in the
    /// environment.
    pub fn entries(&self) -> impl Iterator<Item = (&Path, HeldContents<'_>)> {
        self.names.iter().map(|(path, name)| {
            let contents = match name {
                HeldName::Link(target) => HeldContents::Link(target),
                HeldName::File(number) => {
                    let file = self.files[*number];
                    HeldContents::File {
                        file: match file.part.file {
                            Member::Own => self.spool.file(),
                            Member::Attached(number) => &self.attached[number].file,
                        },
                        digests: self.digests_of(file.part),
                        number: *number,
                        offset: file.part.offset,
                        head: file.part.head,
                        bytes: file.part.bytes,
                        is_executable: file.is_executable,
                    }
                }
            };
            (path.as_path(), contents)
        })
    }

    /// Returns the digests of a file's whole blocks.
    fn digests_of(&self, part: Part) -> Option<(&Arc<[u8]>, usize)> {
        let Member::Attached(number) = part.file else {
            return None;
        };
        let digests = &self.attached[number].digests;
        let first = digests.first.get(&part.offset);
        let first = first.filter(|_| part.head.is_none())?;
        Some((&digests.bytes, first.number))
    }

    /// Returns what is known of byte code without reading it, if its source is the one that came
    /// with it. Byte code with whole blocks has to be read, since they may not have been compared
    /// with their digests.
    pub(crate) fn known_byte_code(&self, code: Part, source: Part) -> Option<KnownByteCode> {
        let Member::Attached(number) = code.file else {
            return None;
        };
        let known = *self.attached[number].byte_code.get(&code.offset)?;
        let is_unchanged = code.head.is_none() && source.head.is_none();
        let is_its_own = source.file == code.file && (source.offset, source.bytes) == known.source;
        let is_compared = (known.head.len()..BLOCK_BYTES).contains(&(code.bytes as usize));
        (is_unchanged && is_its_own && is_compared).then_some(known)
    }

    /// Returns whether the prefix has a copy of this path, which does not count.
    pub fn has_copy(&self, path: &Path) -> bool {
        self.copies.contains(path)
    }

    /// Collects what the packages hold back.
    pub(crate) fn of(spool: Arc<Spool>, linked: &mut [Linked]) -> Self {
        let new_packages = linked.iter_mut().filter_map(|one| one.to_keep.take());
        let mut held = Self {
            attached: spool.attached(),
            new_packages: new_packages.collect(),
            spool,
            files: Vec::new(),
            names: BTreeMap::new(),
            copies: HashSet::new(),
        };
        let mut names = Vec::new();
        for package in linked {
            let mut shared: HashMap<usize, usize> = HashMap::new();
            for HeldEntry { target, kind } in std::mem::take(&mut package.held) {
                let name = match kind {
                    HeldKind::Link(to) => HeldName::Link(to),
                    HeldKind::File {
                        part,
                        is_executable,
                        modified,
                        number,
                    } => {
                        let known = number.and_then(|number| shared.get(&number).copied());
                        let file = known.unwrap_or_else(|| {
                            held.files.push(HeldFile {
                                part,
                                is_executable,
                                modified,
                            });
                            held.files.len() - 1
                        });
                        shared.extend(number.map(|number| (number, file)));
                        HeldName::File(file)
                    }
                };
                names.push((target, name));
            }
        }
        // A map of a list sorts it once, which is cheaper than thousands of insertions.
        held.names = names.into_iter().collect();
        held
    }

    /// Returns the number of packages whose contents are elsewhere.
    pub(crate) fn kept_packages(&self) -> usize {
        self.attached.len()
    }

    /// Returns whether nothing is held back.
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns the contents of the file at a path, or `None` if no regular file is held back there.
    pub(crate) fn part(&self, path: &Path) -> Option<Part> {
        self.numbered_file(path).map(|(_, file)| file.part)
    }

    /// Returns the file at a path and its number, or `None` if no regular file is held back there.
    pub(crate) fn numbered_file(&self, path: &Path) -> Option<(usize, HeldFile)> {
        match self.names.get(path)? {
            HeldName::File(number) => Some((*number, self.files[*number])),
            HeldName::Link(_) => None,
        }
    }

    /// Returns the regular files below a directory, sorted by their paths.
    pub(crate) fn files_below<'a>(
        &'a self,
        dir: &'a Path,
    ) -> impl Iterator<Item = (&'a Path, HeldFile)> {
        self.names_below(dir).filter_map(|(path, name)| match name {
            HeldName::File(number) => Some((path, self.files[*number])),
            HeldName::Link(_) => None,
        })
    }

    /// Returns the paths below a directory.
    pub(crate) fn below<'a>(&'a self, dir: &'a Path) -> impl Iterator<Item = &'a Path> {
        self.names_below(dir).map(|(path, _)| path)
    }

    fn names_below<'a>(&'a self, dir: &'a Path) -> impl Iterator<Item = (&'a Path, &'a HeldName)> {
        let bounds = (Bound::Included(dir), Bound::Unbounded);
        let from = self.names.range::<Path, _>(bounds);
        from.map(|(path, name)| (path.as_path(), name))
            .skip_while(move |(path, _)| *path == dir)
            .take_while(move |(path, _)| path.starts_with(dir))
    }

    /// Returns whether a file or link is held back at a path.
    pub(crate) fn has_name(&self, path: &Path) -> bool {
        self.names.contains_key(path)
    }

    /// Returns whether a link is held back at a path.
    pub(crate) fn is_link(&self, path: &Path) -> bool {
        matches!(self.names.get(path), Some(HeldName::Link(_)))
    }

    /// Returns whether something is held back at a path or below it.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.names.contains_key(path) || self.below(path).next().is_some()
    }

    /// Reads the file at a path, following links among what is held back. Returns `None` if there
    /// is no such file.
    pub(crate) fn read_following(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        let part = self.resolved(path).and_then(|path| self.part(&path));
        part.map(|part| self.read(part)).transpose()
    }

    /// Returns whether a path leads to a file or directory, following links among what is held
    /// back.
    pub(crate) fn leads_somewhere(&self, path: &Path) -> bool {
        let found = self.resolved(path);
        found.is_some_and(|path| self.part(&path).is_some() || self.below(&path).next().is_some())
    }

    /// Returns a path without links, or `None` if a link leads out of the environment or to itself.
    fn resolved(&self, path: &Path) -> Option<PathBuf> {
        let mut rest: VecDeque<OsString> = path.iter().map(OsStr::to_owned).collect();
        let (mut resolved, mut links) = (PathBuf::new(), 0);
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                resolved = resolved.parent()?.to_owned();
                continue;
            }
            resolved.push(&name);
            if let Some(HeldName::Link(target)) = self.names.get(&resolved) {
                links += 1;
                if links > LINKS_MAX || target.is_absolute() {
                    return None;
                }
                resolved.pop();
                for part in target.iter().rev().filter(|part| *part != ".") {
                    rest.push_front(part.to_owned());
                }
            }
        }
        Some(resolved)
    }

    pub(crate) fn contents(&self) -> &Spool {
        &self.spool
    }

    pub(crate) fn read(&self, part: Part) -> Result<Vec<u8>, Error> {
        let failed = Error::io("read", self.spool.file().path());
        self.spool.read(part).map_err(failed)
    }

    /// Gives the file with this number another part of the spool.
    pub(crate) fn replace(&mut self, number: usize, part: Part) {
        self.files[number].part = part;
    }

    /// Adds a file, or replaces the contents of this name.
    pub(crate) fn insert(&mut self, path: PathBuf, bytes: &[u8]) -> Result<(), Error> {
        let failed = Error::io("write", self.spool.file().path());
        let part = self.spool.append(bytes).map_err(failed)?;
        self.files.push(HeldFile {
            part,
            is_executable: false,
            modified: 0,
        });
        self.names
            .insert(path, HeldName::File(self.files.len() - 1));
        Ok(())
    }

    /// Adds an open file, or replaces the file of this name. The contents are copied.
    pub(crate) fn insert_file(&mut self, path: PathBuf, mut file: File) -> Result<(), Error> {
        let failed = Error::io("read", &path);
        let mut add = || -> std::io::Result<HeldFile> {
            let found = file.metadata()?;
            let part = self.spool.reserve(found.len())?;
            let (mut piece, mut at) = (vec![0; PIECE_BYTES], 0);
            while at < part.bytes {
                let rest = usize::try_from(part.bytes - at).unwrap_or(usize::MAX);
                let wanted = rest.min(piece.len());
                file.read_exact(&mut piece[..wanted])?;
                self.spool.write(part, at, &piece[..wanted])?;
                at += wanted as u64;
            }
            Ok(HeldFile {
                part,
                is_executable: found.permissions().mode() & 0o111 != 0,
                modified: 0,
            })
        };
        let file = add().map_err(failed)?;
        self.files.push(file);
        self.names
            .insert(path, HeldName::File(self.files.len() - 1));
        Ok(())
    }

    pub(crate) fn remove(&mut self, path: &Path) {
        self.names.remove(path);
    }

    /// Copies files and links into the prefix, for a program that runs during the build. What the
    /// build has written there stays.
    pub(crate) fn copy_out(
        &mut self,
        env: &Within,
        wanted: &dyn Fn(&Path) -> bool,
    ) -> Result<(), Error> {
        let is_wanted = |path: &&PathBuf| wanted(path) && !env.has(path);
        let paths: Vec<&PathBuf> = self.names.keys().filter(is_wanted).collect();
        let (mut made, mut first) = (HashSet::new(), HashMap::<usize, &Path>::new());
        let (mut files, mut names) = (Vec::new(), Vec::new());
        for path in &paths {
            if let Some(parent) = path.parent()
                && made.insert(parent)
            {
                env.make_dir(parent)?;
            }
            match &self.names[*path] {
                HeldName::Link(target) => env.link(target, path)?,
                HeldName::File(number) => {
                    let known = *first.entry(*number).or_insert(path);
                    if known == path.as_path() {
                        files.push((env.path(path), self.files[*number]));
                    } else {
                        names.push((known, path.as_path()));
                    }
                }
            }
        }
        self.write_all(&files)?;
        for (known, name) in names {
            env.hard_link(known, name)?;
        }
        let copies: Vec<PathBuf> = paths.into_iter().cloned().collect();
        self.copies.extend(copies);
        Ok(())
    }
    /// Writes new files with these contents.
    fn write_all(&self, files: &[(PathBuf, HeldFile)]) -> Result<(), Error> {
        let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
        let workers = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        condense_threads::all(workers.min(WRITERS_MAX), || {
            while let Some((path, file)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.write_file(path, *file) {
                    next.store(files.len(), Ordering::Relaxed);
                    let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                    failure.get_or_insert(error);
                }
            }
        });
        let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        failure.map_or(Ok(()), Err)
    }

    fn write_file(&self, path: &Path, held: HeldFile) -> Result<(), Error> {
        let mut file = fs_err::File::create_new(path).map_err(Error::io("create", path))?;
        let bits = if held.is_executable { 0o755 } else { 0o644 };
        let written = std::io::copy(&mut self.spool.reader(held.part), &mut file)
            .and_then(|_| file.flush())
            .and_then(|()| file.set_permissions(std::fs::Permissions::from_mode(bits)));
        written.map_err(Error::io("write", path))
    }
}
