//! Responsible for copying the images of an installation, or a SIF, to nodes: once for each node,
//! whole or not at all.

mod place;
mod slurm;

use std::path::{Path, PathBuf};

use anyhow::bail;
use condense_diagnostics::UserError;
use condense_installation::{
    CopyProgress, NodeCopy, NodeDir, NodeFile, NodeSource, OldCopy, Receipt, digest_of_source,
};
use indicatif::HumanBytes;

use crate::contents::{Subject, SubjectKind};
use crate::generation::IMAGE;
use crate::report::{Phase, Report};
pub use place::{Place, choose_place};
pub use slurm::{NodeAnswer, NodeStep, SlurmJob, answer_as_node, stage_in_job};

/// Name of the line in common.sh by which wrappers know the copies of their image.
const KNOWS_COPIES: &[u8] = b"image_digest=";

/// Images that are copied, with their owner.
#[derive(Debug, Clone)]
pub struct StageSources {
    /// Directory of the installation, or the SIF.
    pub owner: PathBuf,
    /// Files that are copied.
    pub files: Vec<NodeSource>,
}

/// Copies of a subject on this node.
#[derive(Debug, Clone)]
pub struct StagedCopies {
    /// Copies, in the order of the files.
    pub copies: Vec<NodeCopy>,
    /// Number of the copies that were made by this call.
    pub made: usize,
    /// Older copies of the same owner.
    pub old: Vec<OldCopy>,
}

impl StageSources {
    /// Returns the files of a subject that are copied.
    ///
    /// # Errors
    /// Returns an error if the subject has no such files, or if its wrappers look for no copies.
    pub fn of(subject: &Subject, report: &Report) -> anyhow::Result<Self> {
        match subject.kind() {
            SubjectKind::Installation => of_installation(subject, report),
            SubjectKind::Sif => of_sif(subject.path()),
            SubjectKind::Image | SubjectKind::Lock => bail!(UserError::new(
                format!(
                    "`{}` is neither an installation nor a .sif",
                    subject.path().display()
                ),
                "name an installation or a .sif: a bare image can be copied with `cp`",
            )),
        }
    }

    /// Returns the number of bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }

    /// Sets the digest of a file that has none on record.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub fn complete(&mut self, node: Option<&NodeDir>, report: &Report) -> anyhow::Result<()> {
        for file in &mut self.files {
            if file.sha256.is_none() {
                let known = node.and_then(|node| node.find_copy(file));
                let sha256 = match known {
                    Some(copy) => copy.sha256,
                    None => digest_of_source(file, &|| report.cancelled())?,
                };
                file.sha256 = Some(sha256);
            }
        }
        Ok(())
    }

    /// Returns the digests of all files, or `None` if one is not known.
    fn digests(&self) -> Option<Vec<String>> {
        let digests = self.files.iter().map(|file| file.sha256.clone());
        digests.collect()
    }
}

fn of_installation(subject: &Subject, report: &Report) -> anyhow::Result<StageSources> {
    let shown = subject.path().display();
    let Some(dir) = subject.dir() else {
        bail!("`{shown}` has no files of an installation");
    };
    let dir = fs_err::canonicalize(dir)?;
    let receipt = Receipt::load(&dir).ok();
    let common = fs_err::read(dir.join("common.sh")).unwrap_or_default();
    let knows = common
        .split(|byte| *byte == b'\n')
        .any(|line| line.starts_with(KNOWS_COPIES));
    let Some(receipt) = receipt.filter(|_| knows) else {
        bail!(UserError::new(
            format!("the wrappers of `{shown}` are older than copies on nodes"),
            "the next update that changes something, or a new build, writes new wrappers",
        ));
    };
    let owner = fs_err::canonicalize(subject.path())?;
    let mut files = Vec::new();
    if let Some(image) = &receipt.image {
        files.push(NodeSource {
            file: NodeFile::Image,
            path: dir.join(IMAGE),
            size_bytes: image.size_bytes,
            sha256: Some(image.sha256.clone()),
            owner: owner.clone(),
        });
    }
    let base = fs_err::canonicalize(dir.join("container.sif"))?;
    let found = fs_err::metadata(&base)?;
    match receipt.base.sha256 {
        Some(sha256) if found.is_file() => files.push(NodeSource {
            file: NodeFile::Container,
            path: base,
            size_bytes: found.len(),
            sha256: Some(sha256),
            owner: owner.clone(),
        }),
        _ => report.info(format!(
            "the base `{}` has no digest on record, so it stays where it is",
            base.display()
        )),
    }
    if files.is_empty() {
        bail!("`{shown}` has no image that could be copied");
    }
    Ok(StageSources { owner, files })
}

fn of_sif(path: &Path) -> anyhow::Result<StageSources> {
    let path = fs_err::canonicalize(path)?;
    let source = NodeSource {
        file: NodeFile::Container,
        size_bytes: fs_err::metadata(&path)?.len(),
        sha256: None,
        owner: path.clone(),
        path: path.clone(),
    };
    Ok(StageSources {
        owner: path,
        files: vec![source],
    })
}

/// Returns the copy of a SIF below `parent`, which `CW_STAGE` names. Errors count as no copy.
pub fn staged_sif(path: &Path, parent: &Path) -> Option<PathBuf> {
    let node = NodeDir::find(parent).ok()??;
    let sources = of_sif(path).ok()?;
    Some(node.find_copy(sources.files.first()?)?.path)
}

/// Copies what this node does not have, below `parent`. Other processes of the node wait for each
/// other, and only the first one copies.
///
/// # Errors
/// Returns an error if there is too little space, if an original is not what was recorded, or if a
/// file cannot be read or written. What was copied whole stays.
pub fn stage_here(
    sources: &StageSources,
    parent: &Path,
    report: &Report,
) -> anyhow::Result<StagedCopies> {
    let node = NodeDir::create(parent)?;
    let cancelled = || report.cancelled();
    let _lock = node.lock(&cancelled)?;
    let mut old = Vec::new();
    if let Some(kept) = sources.digests() {
        // The space of older copies may be needed.
        old = node.clean(Some(&sources.owner), &kept)?;
    }
    let files = sources.files.iter();
    let found: Vec<Option<NodeCopy>> = files.map(|file| node.find_copy(file)).collect();
    let missing = sources.files.iter().zip(&found);
    let missing = missing.filter(|(_, copy)| copy.is_none());
    let missing: Vec<&NodeSource> = missing.map(|(file, _)| file).collect();
    let bytes = missing.iter().map(|file| file.size_bytes).sum();
    place::check_room(node.path(), bytes)?;
    let mut made = Vec::new();
    if !missing.is_empty() {
        report.begin(Phase::Copy, Some(bytes));
        let progress = CopyProgress {
            advance: &|bytes| report.advance(Phase::Copy, bytes),
            cancelled: &cancelled,
        };
        for file in &missing {
            report.debug(format!("copying `{}`", file.path.display()));
            made.push(node.copy(file, progress)?);
        }
        report.end(Phase::Copy);
    }
    let mut made = made.into_iter();
    let copies = found
        .into_iter()
        .filter_map(|copy| copy.or_else(|| made.next()));
    let copies: Vec<NodeCopy> = copies.collect();
    for (file, copy) in sources.files.iter().zip(&copies) {
        node.note_owner(copy, file)?;
    }
    if sources.digests().is_none() {
        let kept: Vec<String> = copies.iter().map(|copy| copy.sha256.clone()).collect();
        old = node.clean(Some(&sources.owner), &kept)?;
    }
    Ok(StagedCopies {
        copies,
        made: missing.len(),
        old,
    })
}

/// Removes the copies below `parent` that no program uses: those of an owner, or all.
///
/// # Errors
/// Returns an error if the directory of copies is not private, or if a copy cannot be removed.
pub fn clean_stage(
    parent: &Path,
    owner: Option<&Path>,
    report: &Report,
) -> anyhow::Result<Vec<OldCopy>> {
    let Some(node) = NodeDir::find(parent)? else {
        return Ok(Vec::new());
    };
    let _lock = node.lock(&|| report.cancelled())?;
    Ok(node.clean(owner, &[])?)
}

/// Returns the size of a copy in words.
pub fn size_of(copy: &NodeCopy) -> String {
    HumanBytes(copy.size_bytes).to_string()
}
