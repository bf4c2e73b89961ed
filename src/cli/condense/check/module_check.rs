//! Responsible for comparing the image of a module, and its copies, with what the module says.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use condense_base::BaseImage;
use condense_check::{Finding, find_code};
use condense_env_vars::EnvVars;
use condense_modules::{ImageRecord, Record};

/// Maximum size of a module file in bytes.
const MODULE_MOST: u64 = 1 << 20;

/// Returns what a file says about its module, if condense has written it as a module.
pub(super) fn open(path: &Path) -> Option<Record> {
    if !path.is_file() {
        return None;
    }
    let text = condense_input::read_to_string(path, MODULE_MOST).ok()?;
    Record::find(&text)
}

/// Compares the image that the module takes, and all copies behind it, with the module.
///
/// # Errors
/// Returns an error if an image cannot be read.
pub(super) fn compare(record: &Record, env_vars: &EnvVars) -> anyhow::Result<Vec<Finding>> {
    let Some(image) = &record.image else {
        return Ok(Vec::new());
    };
    let look = |name: &str| env_vars.get(name).map(str::to_owned);
    let dirs = image
        .dirs
        .iter()
        .map(|dir| Path::new(&dir.path(look)).join(&image.file));
    let places: Vec<PathBuf> = std::iter::once(PathBuf::from(&image.path))
        .chain(dirs)
        .collect();
    let mut findings = Vec::new();
    let mut is_copy = false;
    for path in places.iter().filter(|path| path.is_file()) {
        if let Some(difference) = difference(path, image)? {
            let code = if is_copy {
                "module-copy"
            } else {
                "module-image"
            };
            findings.push(finding(code, difference, path)?);
        }
        is_copy = true;
    }
    if !is_copy {
        let what = format!(
            "{} is neither where it was nor in a place for copies",
            image.file
        );
        findings.push(finding("module-image", what, Path::new(&image.path))?);
    }
    Ok(findings)
}

/// Describes how a file differs from the image with which the module was written.
fn difference(path: &Path, image: &ImageRecord) -> anyhow::Result<Option<String>> {
    let size = fs_err::metadata(path)?.len();
    if size != image.size {
        return Ok(Some(format!(
            "it has {size} bytes, and the module was written for {}",
            image.size
        )));
    }
    let digest = BaseImage::open(path)?.digest()?.unwrap_or_default();
    Ok((!digest.starts_with(&image.sha256)).then(|| {
        let found = digest.get(..image.sha256.len()).unwrap_or_default();
        format!(
            "its SHA-256 begins with {found}, and the module was written for {}",
            image.sha256
        )
    }))
}

fn finding(code: &str, what: String, path: &Path) -> anyhow::Result<Finding> {
    let code = find_code(code).context("each finding of a module has a code")?;
    Ok(Finding {
        code,
        what,
        location: path.display().to_string(),
        fix: code.fix.to_owned(),
    })
}
