//! Responsible for assembling one generation while it is not visible, and for making it visible.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use condense_publish::{copy_image, sync_directory, sync_tree};

use super::adopt::adopt;
use super::base::{BaseMode, place, sha256};
use super::claim::Claim;
use super::paths::{
    CURRENT, IMAGE, LANDMARKS, LINKS, MODE_EXECUTABLE, MODE_PLAIN, SELF_DIR, STATE_DIR, VENV_MARK,
    create_dir, generation_dir, links_of, links_through_current, names_of, replace_link, set_mode,
    target_through_current,
};
use crate::error::{Error, Result};
use crate::receipt::{Placement, RECEIPT_NAME, Receipt};
use crate::update_state::AliasedFile;
use crate::wrapper::{Digests, Launch, SHARED_CONTAINER};

/// Names of condense's own wrappers, which exist beside the wrappers of the environment's programs.
const OWN_WRAPPERS: [&str; 2] = ["_debug_exec", "_debug_shell"];

/// Name of the file that all wrappers read.
const COMMON: &str = "common.sh";

/// All parts of one generation.
#[derive(Debug)]
pub struct Assembly<'a> {
    /// Finished image, if there is one. Staging moves the file into the generation.
    pub image: Option<&'a Path>,
    /// The base: a .sif file or a sandbox directory.
    pub base: &'a Path,
    /// Way in which the generation may use the file of the base.
    pub base_mode: BaseMode,
    /// Settings of the wrappers.
    pub launch: &'a Launch,
    /// Programs that get a wrapper.
    pub programs: &'a [Program],
    /// Landmarks: links below `lib/` and `include/` beside `bin/`, each with its path and its
    /// target in the container. An interpreter that does not have its prefix compiled in finds the
    /// prefix by these links.
    pub landmarks: &'a [(PathBuf, PathBuf)],
    /// Further files in `share/`: path below `share/`, and bytes.
    pub share: &'a [(PathBuf, Vec<u8>)],
    /// Receipt of the generation. Staging sets its generation number and the placement of the base.
    /// The digest of the image may be empty until [`Staged::set_image_digest`].
    pub receipt: &'a Receipt,
}

/// A program that gets a wrapper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Name of the wrapper in `bin/`.
    pub name: OsString,
    /// Absolute path of the program in the container.
    pub target: PathBuf,
}

impl Claim {
    /// Assembles a whole generation that is not visible yet.
    ///
    /// # Errors
    /// Returns [`Error::NoPrograms`], [`Error::DuplicateProgram`], [`Error::ProgramName`],
    /// [`Error::CannotBind`] or [`Error::Value`] for an invalid assembly, and [`Error::Io`] if the
    /// file system reports an error. Nothing is left behind.
    pub fn stage(self, assembly: &Assembly<'_>) -> Result<Staged> {
        check_programs(assembly.programs)?;
        let dir = if self.is_beside() {
            generation_dir(&self.root, self.generation)
        } else {
            self.root
                .join(STATE_DIR)
                .join(format!("{}.tmp", self.generation))
        };
        create_dir(&dir)?;
        write_wrappers(&dir, assembly)?;
        write_landmarks(&dir, assembly.landmarks)?;
        write_self(&dir, self.generation)?;
        let mut receipt = assembly.receipt.clone();
        receipt.generation = self.generation;
        let placement = place(
            assembly.base,
            &dir.join("container.sif"),
            assembly.base_mode,
        )?;
        // With `KeepPlacement`, the placement only says how two generations share the file. The
        // receipt keeps the placement that says how the base was taken over first.
        if assembly.base_mode != BaseMode::KeepPlacement {
            receipt.base.placement = placement;
        }
        if receipt.base.placement == Placement::Symlink
            && receipt.base.sha256.is_none()
            && assembly.base.is_file()
        {
            receipt.base.sha256 = Some(sha256(assembly.base)?);
        }
        let common = render_common(assembly.launch, &receipt)?;
        write(&dir.join(COMMON), &common, MODE_PLAIN)?;
        write_share(&dir, &self.dir, assembly, &receipt)?;
        for alias in &receipt.update_state.file_aliases {
            if alias.file != AliasedFile::Image || assembly.image.is_some() {
                fs_err::os::unix::fs::symlink(alias.file.as_str(), dir.join(&alias.name))
                    .map_err(Error::Io)?;
            }
        }
        // The image is moved late, so that an earlier failure leaves the caller's image where it
        // was.
        if let Some(image) = assembly.image {
            move_in(image, &dir.join(IMAGE))?;
        }
        if self.is_beside() {
            link_through_current(&self.root, &dir)?;
            replace_link(
                &self.root,
                Path::new(&self.generation.to_string()),
                &self.root.join(STATE_DIR).join(CURRENT),
            )?;
        }
        Ok(Staged {
            claim: self,
            dir,
            receipt,
            launch: assembly.launch.clone(),
            wrappers: assembly.programs.len(),
        })
    }
}

fn render_common(launch: &Launch, receipt: &Receipt) -> Result<Vec<u8>> {
    let digests = Digests {
        image: receipt.image.as_ref().map(|image| image.sha256.as_str()),
        base: receipt.base.sha256.as_deref(),
    };
    launch.render_common(receipt.generation, digests)
}

/// A generation that is complete but not visible. Dropping it removes it.
#[derive(Debug)]
pub struct Staged {
    claim: Claim,
    dir: PathBuf,
    receipt: Receipt,
    launch: Launch,
    wrappers: usize,
}

impl Staged {
    /// Returns the directory of the generation. The wrappers in its `bin/` work already.
    pub fn generation_dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the receipt as it was written.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// Writes the digest of the image, in hexadecimal, into the files that have it. Computing it
    /// takes as long as starting a wrapper, which works without it.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be written.
    pub fn set_image_digest(&mut self, sha256: String) -> Result<()> {
        if let Some(image) = &mut self.receipt.image {
            image.sha256 = sha256;
        }
        let common = render_common(&self.launch, &self.receipt)?;
        fs_err::write(self.dir.join(COMMON), common).map_err(Error::Io)?;
        let receipt = self.dir.join("share").join(RECEIPT_NAME);
        fs_err::write(receipt, self.receipt.render()).map_err(Error::Io)
    }

    /// Waits until the whole new generation is on disk. [`Staged::publish`] does the same, but
    /// takes less time after this call.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk is full or broken.
    pub fn store(&self) -> Result<()> {
        Ok(sync_tree(if self.claim.is_beside() {
            &self.claim.root
        } else {
            &self.dir
        })?)
    }

    /// Makes the new generation visible with a single rename. When this function returns, the
    /// result survives a power failure.
    ///
    /// # Errors
    /// [`Error::Value`] if the digest of the image is still empty. [`Error::NotEmpty`] if another
    /// program has put something at the destination meanwhile.
    /// [`Error::Io`] if the file system reports an error. In that case the new generation may be
    /// visible and complete, but it may not have reached the disk.
    pub fn publish(mut self) -> Result<Installation> {
        let (dir, root, generation) = (
            self.claim.dir.clone(),
            self.claim.root.clone(),
            self.claim.generation,
        );
        let image = self.receipt.image.as_ref();
        if let Some(empty) = image.filter(|image| image.sha256.is_empty()) {
            return Err(Error::Value {
                value: empty.sha256.clone(),
                expected: "the digest of the image",
            });
        }
        self.store()?;
        if self.claim.is_beside() {
            rename_directory(&root, &dir)?;
            self.claim.published = true;
            self.claim.store_name()?;
        } else {
            if self.claim.adopts {
                adopt(&root)?;
            }
            fs_err::rename(&self.dir, generation_dir(&root, generation)).map_err(Error::Io)?;
            show(&root, generation)?;
        }
        self.claim.published = true;
        Ok(Installation {
            dir,
            generation,
            wrappers: self.wrappers,
            receipt: self.receipt.clone(),
        })
    }
}

/// An installation that has been published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Directory of the installation, as users know it.
    pub dir: PathBuf,
    /// Number of the visible generation.
    pub generation: u32,
    /// Number of programs in `bin/`.
    pub wrappers: usize,
    /// Receipt of this generation.
    pub receipt: Receipt,
}

fn check_programs(programs: &[Program]) -> Result<()> {
    if programs.is_empty() {
        return Err(Error::NoPrograms);
    }
    let mut names = BTreeSet::new();
    for program in programs {
        let name = program.name.as_bytes();
        let own = OWN_WRAPPERS.iter().any(|own| *own == program.name);
        if name.is_empty()
            || name == b"."
            || name == b".."
            || name.contains(&b'/')
            || name.len() > 255
            || own
        {
            return Err(Error::ProgramName {
                name: program.name.clone(),
            });
        }
        if !program.target.is_absolute() {
            let value = program.target.display().to_string();
            return Err(Error::Value {
                value,
                expected: "an absolute path in the container",
            });
        }
        if !names.insert(&program.name) {
            return Err(Error::DuplicateProgram {
                name: program.name.clone(),
            });
        }
    }
    Ok(())
}

/// Writes `bin/` with hard links to one wrapper file under many names, and `_bin/` with links to
/// the programs.
fn write_wrappers(dir: &Path, assembly: &Assembly<'_>) -> Result<()> {
    let (bin, links) = (dir.join("bin"), dir.join("_bin"));
    create_dir(&bin)?;
    create_dir(&links)?;
    let text = assembly.launch.render_wrapper();
    let mut first = bin.join(OWN_WRAPPERS[0]);
    write(&first, text.as_bytes(), MODE_EXECUTABLE)?;
    let names = assembly
        .programs
        .iter()
        .map(|program| program.name.as_os_str());
    for name in names.chain(OWN_WRAPPERS[1..].iter().map(OsStr::new)) {
        let path = bin.join(name);
        if std::fs::hard_link(&first, &path).is_err() {
            // The file system has no hard links or limits their number per file, so further names
            // get another file.
            write(&path, text.as_bytes(), MODE_EXECUTABLE)?;
            first = path;
        }
    }
    for program in assembly.programs {
        fs_err::os::unix::fs::symlink(&program.target, links.join(&program.name))
            .map_err(Error::Io)?;
    }
    Ok(())
}

fn write_share(
    dir: &Path,
    destination: &Path,
    assembly: &Assembly<'_>,
    receipt: &Receipt,
) -> Result<()> {
    let share = dir.join("share");
    create_dir(&share)?;
    let own = [
        (PathBuf::from(RECEIPT_NAME), receipt.render().into_bytes()),
        (
            PathBuf::from("conf.yaml"),
            receipt.render_conf(destination).into_bytes(),
        ),
        (
            PathBuf::from("VERSION.yml"),
            receipt.render_version().into_bytes(),
        ),
    ];
    for (name, text) in SHARED_CONTAINER {
        write(&share.join(name), text.as_bytes(), MODE_PLAIN)?;
    }
    for (path, bytes) in own.iter().chain(assembly.share) {
        let inside = path
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        if !inside || path.as_os_str().is_empty() {
            return Err(Error::Value {
                value: path.display().to_string(),
                expected: "a path below `share`",
            });
        }
        let mut parent = share.clone();
        for part in path.parent().into_iter().flat_map(Path::components) {
            parent.push(part);
            if !parent.is_dir() {
                create_dir(&parent)?;
            }
        }
        write(&share.join(path), bytes, MODE_PLAIN)?;
    }
    Ok(())
}

/// Writes a new file. An existing file at this path is a mistake of the caller.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut file = fs_err::File::create_new(path).map_err(Error::Io)?;
    std::io::Write::write_all(&mut file, bytes).map_err(Error::Io)?;
    set_mode(path, mode)
}

/// Moves a file by a rename, or by a copy if the target is on another file system.
fn move_in(source: &Path, target: &Path) -> Result<()> {
    match std::fs::rename(source, target) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            copy_image(source, target).map_err(|error| Error::at("move in", source, error))?;
            fs_err::remove_file(source).map_err(Error::Io)?;
        }
        Err(error) => return Err(Error::at("move in", source, error)),
    }
    set_mode(target, MODE_PLAIN)
}

/// Checks whether a path exists. A link whose target exists only in the container counts, too.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Makes an existing generation visible.
pub(super) fn show(root: &Path, generation: u32) -> Result<()> {
    let generation_dir = generation_dir(root, generation);
    let state_dir = root.join(STATE_DIR);
    link_through_current(root, &generation_dir)?;
    // The link `current` must not be on disk before its target is.
    sync_directory(&state_dir)?;
    sync_directory(root)?;
    let number = generation.to_string();
    replace_link(root, Path::new(&number), &state_dir.join(CURRENT))?;
    sync_directory(&state_dir)?;
    // From now on no program looks up names that only the previous generation has.
    let mut gone = links_of(root)?;
    gone.retain(|name| !is_there(&generation_dir.join(name)));
    for name in gone {
        fs_err::remove_file(root.join(name)).map_err(Error::Io)?;
    }
    Ok(())
}

/// Makes the links through `current` that users see. Until `current` exists, the links dangle and
/// are no installation.
fn link_through_current(root: &Path, generation_dir: &Path) -> Result<()> {
    for name in names_of(generation_dir)? {
        // A `lib` directory of the user is kept. An interpreter that would use the landmark of that
        // name runs nevertheless.
        let stays = is_there(&root.join(&name)) && !LINKS.iter().any(|link| name == *link);
        if name != SELF_DIR && !stays && !links_through_current(root, &name) {
            replace_link(root, &target_through_current(&name), &root.join(&name))?;
        }
    }
    Ok(())
}

fn write_landmarks(dir: &Path, landmarks: &[(PathBuf, PathBuf)]) -> Result<()> {
    for (path, target) in landmarks {
        let allowed = path == Path::new(VENV_MARK)
            || path.components().count() == 2
                && LANDMARKS.iter().any(|name| path.starts_with(name));
        if !allowed {
            let value = path.display().to_string();
            return Err(Error::Value {
                value,
                expected: "`pyvenv.cfg`, or a path right below `lib`, `lib64` or `include`",
            });
        }
        let link = dir.join(path);
        let parent = link.parent().expect("it is below a directory");
        if !parent.is_dir() {
            create_dir(parent)?;
        }
        fs_err::os::unix::fs::symlink(target, link).map_err(Error::Io)?;
    }
    Ok(())
}

/// Writes [`SELF_DIR`] of a generation.
fn write_self(dir: &Path, generation: u32) -> Result<()> {
    let (own, name) = (dir.join(SELF_DIR), generation.to_string());
    create_dir(&own)?;
    create_dir(&own.join(&name))?;
    fs_err::os::unix::fs::symlink(&name, own.join(CURRENT)).map_err(Error::Io)
}

fn rename_directory(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|error| match error.kind() {
        std::io::ErrorKind::DirectoryNotEmpty | std::io::ErrorKind::AlreadyExists => {
            Error::NotEmpty {
                path: to.to_owned(),
            }
        }
        std::io::ErrorKind::NotADirectory => Error::NotADirectory {
            path: to.to_owned(),
        },
        _ => Error::at("move into place", to, error),
    })
}
