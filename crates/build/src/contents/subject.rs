//! Responsible for finding the image and the lock of an installation, a generation or a file.

use std::path::{Path, PathBuf};

use anyhow::bail;
use condense_diagnostics::UserError;
use condense_image::{Reader, Sif, reader::Superblock};
use condense_installation::{Destination, History, RECEIPT_NAME, Receipt, State, Tykky};
use condense_prefix::Lock;

use crate::{
    generation::IMAGE,
    sif::{KEPT, LOCK},
};

/// Number of bytes at the beginning of a file that show its kind.
const HEAD_LEN: u64 = 64;

/// Installation, image or lock whose packages are read.
#[derive(Debug, Clone)]
pub struct Subject {
    kind: SubjectKind,
    path: PathBuf,
    /// Directory of the generation of an installation.
    dir: Option<PathBuf>,
    generation: Option<u32>,
    image: Option<PathBuf>,
}

/// Kind of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectKind {
    /// Installation of condense or of Tykky.
    Installation,
    /// File in the format SIF.
    Sif,
    /// SquashFS image without a container around it.
    Image,
    /// Lock file of condense, pixi or conda-lock.
    Lock,
}

impl SubjectKind {
    /// Returns the name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Installation => "installation",
            Self::Sif => "sif",
            Self::Image => "image",
            Self::Lock => "lock",
        }
    }
}

impl Subject {
    /// Finds out the kind of a path. `generation` selects a generation of an installation; without
    /// it, the visible one is used.
    ///
    /// # Errors
    /// Returns an error if the path does not exist, if it is nothing that has packages, or if the
    /// installation has no such generation.
    pub fn open(path: &Path, generation: Option<u32>) -> anyhow::Result<Self> {
        if path.is_dir() {
            return Self::of_directory(path, generation);
        }
        let metadata = fs_err::metadata(path)?;
        if let Some(number) = generation {
            bail!(UserError::new(
                format!("`{}` is a file and has no generations", path.display()),
                format!("leave out `@{number}`"),
            ));
        }
        if !metadata.is_file() {
            bail!(refused(path));
        }
        let head = head(path)?;
        let kind = if Sif::recognises(&head) {
            SubjectKind::Sif
        } else if Superblock::recognises(&head) {
            SubjectKind::Image
        } else if is_lock(path)? {
            SubjectKind::Lock
        } else {
            bail!(refused(path));
        };
        Ok(Self {
            kind,
            path: path.to_owned(),
            dir: None,
            generation: None,
            image: (kind != SubjectKind::Lock).then(|| path.to_owned()),
        })
    }

    fn of_directory(path: &Path, wanted: Option<u32>) -> anyhow::Result<Self> {
        let (dir, generation) = match Destination::inspect(path)?.state() {
            State::Condense { generation, .. } => {
                let number = wanted.unwrap_or(*generation);
                let generations = History::open(path)?.generations()?;
                let Some(found) = generations.iter().find(|found| found.number == number) else {
                    let numbers: Vec<String> = generations
                        .iter()
                        .map(|found| found.number.to_string())
                        .collect();
                    bail!(UserError::new(
                        format!("`{}` has no generation {number}", path.display()),
                        format!("it has {}", numbers.join(", ")),
                    ));
                };
                (found.dir.clone(), Some(number))
            }
            State::Tykky => (path.to_owned(), None),
            // The directory of a generation itself.
            _ if path.join("share").join(RECEIPT_NAME).is_file() => (path.to_owned(), None),
            _ => bail!(UserError::new(
                format!("`{}` is not an installation", path.display()),
                "`condense list` shows the installations in TYKKY_PATH",
            )),
        };
        if let (Some(number), None) = (wanted, generation) {
            bail!(UserError::new(
                format!("`{}` has no generations", path.display()),
                format!("leave out `@{number}`"),
            ));
        }
        let usual = dir.join(IMAGE);
        let of_tykky = || Tykky::read(&dir).ok().and_then(|found| found.image);
        // An installation that only wraps a container has its programs in the container.
        let container = dir.join("container.sif");
        let image = Some(usual)
            .filter(|image| image.is_file())
            .or_else(of_tykky)
            .or_else(|| container.is_file().then_some(container));
        Ok(Self {
            kind: SubjectKind::Installation,
            path: path.to_owned(),
            dir: Some(dir),
            generation,
            image,
        })
    }

    /// Returns the kind of the subject.
    pub fn kind(&self) -> SubjectKind {
        self.kind
    }

    /// Returns the path by which the subject was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of the generation, if an installation has generations.
    pub fn generation(&self) -> Option<u32> {
        self.generation
    }

    /// Returns the directory of the generation of an installation. `bin` is in it.
    pub fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// Returns the path of the image, if there is one.
    pub fn image(&self) -> Option<&Path> {
        self.image.as_deref()
    }

    /// Returns the path and the text of the lock that the subject keeps. For a SIF, the path is one
    /// in the image.
    ///
    /// # Errors
    /// Returns an error if the lock, the receipt or the image cannot be read.
    pub fn lock_text(&self) -> anyhow::Result<Option<(PathBuf, String)>> {
        let path = match (&self.dir, self.kind) {
            (_, SubjectKind::Lock) => self.path.clone(),
            (Some(dir), _) => {
                let share = dir.join("share");
                if !share.join(RECEIPT_NAME).is_file() {
                    return Ok(None);
                }
                match Receipt::load(dir)?.lock {
                    Some(record) => share.join(record.path),
                    None => return Ok(None),
                }
            }
            (None, _) => return Self::lock_in_image(&self.path),
        };
        let text = condense_input::read_to_string(&path, condense_input::RECORD_MOST)?;
        Ok(Some((path, text)))
    }

    fn lock_in_image(image: &Path) -> anyhow::Result<Option<(PathBuf, String)>> {
        let reader = Reader::open(image)?;
        let place = Path::new("/").join(KEPT).join(LOCK);
        let Some(node) = reader
            .resolve(&place)?
            .filter(condense_image::reader::Node::is_file)
        else {
            return Ok(None);
        };
        let bytes = reader.read(&node, condense_input::RECORD_MOST)?;
        Ok(Some((place, String::from_utf8_lossy(&bytes).into_owned())))
    }

    /// Reads the lock that the subject keeps.
    ///
    /// # Errors
    /// Returns an error if the lock cannot be read or understood.
    pub(super) fn lock_file(&self) -> anyhow::Result<Option<Lock>> {
        let Some((path, text)) = self.lock_text()? else {
            return Ok(None);
        };
        Ok(Some(Lock::of_text(&text, &path)?))
    }
}

/// Returns the first bytes of a file.
fn head(path: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut head = Vec::new();
    condense_input::open(path)?
        .take(HEAD_LEN)
        .read_to_end(&mut head)?;
    Ok(head)
}

/// Returns whether a file is a lock. An environment file or a list of requirements is none.
fn is_lock(path: &Path) -> anyhow::Result<bool> {
    let bytes = condense_input::read(path, condense_input::RECORD_MOST)?;
    let Ok(text) = String::from_utf8(bytes) else {
        return Ok(false);
    };
    Ok(text.lines().any(|line| line.starts_with("version:"))
        && ["packages:", "package:", "environments:"]
            .iter()
            .any(|key| text.lines().any(|line| line.starts_with(key))))
}

fn refused(path: &Path) -> UserError {
    let shown = path.display();
    let is_of = |extensions: &[&str]| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| extensions.contains(&extension))
    };
    if is_of(&["yml", "yaml", "txt"]) {
        return UserError::new(
            format!("`{shown}` asks for packages, but does not say which versions are installed"),
            format!("`condense lock {shown} -o FILE` solves it, and FILE can be given instead"),
        );
    }
    UserError::new(
        format!("`{shown}` is neither an installation, an image, a .sif nor a lock file"),
        "give a directory or file that condense has made; `condense list` shows installations",
    )
}
