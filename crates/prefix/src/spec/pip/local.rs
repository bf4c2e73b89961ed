//! Responsible for files and directories of this machine that lines for pip name by path or by
//! `file:` URL.

use std::path::{Path, PathBuf};

use url::Url;

use super::Reader;
use crate::error::ABSENT;

impl Reader<'_> {
    pub(super) fn path(
        &mut self,
        before: &str,
        path: &str,
        after: &str,
        beside: &Path,
        is_editable: bool,
    ) -> Result<String, String> {
        // pip resolves paths from its working directory, which conda sets to the directory of the
        // environment file. Users expect the directory of the file that has the line. Both
        // directories are tried.
        let found = self.find(path, &[self.folder, beside])?;
        if found.is_dir() {
            if !["pyproject.toml", "setup.py"]
                .iter()
                .any(|name| found.join(name).is_file())
            {
                return Err(format!(
                    "`{}` is no Python project: expected `pyproject.toml` or `setup.py` in it",
                    found.display()
                ));
            }
        } else if is_editable {
            return Err(format!(
                "`-e {path}`: expected a directory, only those can be edited"
            ));
        }
        let absolute = self.local(found);
        let plain = absolute
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/._-+@".contains(c));
        if before.is_empty() && plain {
            return Ok(format!("{absolute}{after}"));
        }
        if after.starts_with('[') {
            return Err(format!(
                "`{absolute}{after}`: extras of a project whose path has blanks or other than plain characters cannot be written down for pip; rename the directory, or write `name[extra] @ file://…`"
            ));
        }
        let url = Url::from_file_path(&absolute)
            .map_err(|()| format!("`{absolute}` is not a path of this machine"))?;
        Ok(format!("{before}{url}{after}"))
    }

    /// Returns the absolute path of an existing file or directory, in the first
    /// of `folders` that has it.
    pub(super) fn find(&self, path: &str, folders: &[&Path]) -> Result<PathBuf, String> {
        let expanded = if path.contains("${") {
            self.context.expand(path)?
        } else {
            path.to_owned()
        };
        let of_url = Url::parse(&expanded).ok();
        let of_url = of_url.filter(|url| url.scheme() == "file" && expanded.contains("://"));
        let expanded = match of_url.and_then(|url| url.to_file_path().ok()) {
            Some(path) => path,
            None => PathBuf::from(expanded.strip_prefix("file:").unwrap_or(&expanded)),
        };
        let candidates = folders.iter().map(|folder| folder.join(&expanded));
        let mut tried = Vec::new();
        for candidate in candidates {
            if let Ok(found) = fs_err::canonicalize(&candidate) {
                return Ok(found);
            }
            let shown = format!("`{}`", clean(&candidate).display());
            if !tried.contains(&shown) {
                tried.push(shown);
            }
        }
        Err(format!(
            "`{path}`: there is neither file nor directory {}",
            tried.join(" or ")
        ))
    }

    pub(super) fn local(&mut self, path: PathBuf) -> String {
        let text = path.to_string_lossy().into_owned();
        if !self.section.local_paths.contains(&path) {
            self.section.local_paths.push(path);
        }
        text
    }

    /// Adds the file or directory that a `file:` URL names to the local files that pip needs. The
    /// URL may also be that of a repository (`git+file:`). Returns an error if the file or
    /// directory does not exist.
    pub(super) fn remember_url(&mut self, text: &str) -> Result<(), String> {
        let expanded = self.context.expand(text);
        let expanded = expanded.as_deref().unwrap_or(text);
        let (is_repository, location) = match expanded.split_once('+') {
            Some((kind, location)) if !kind.contains(':') => (true, location),
            _ => (false, expanded),
        };
        let Some(url) = Url::parse(location)
            .ok()
            .filter(|url| url.scheme() == "file")
        else {
            return Ok(());
        };
        let Ok(path) = url.to_file_path() else {
            return Err(format!(
                "`{text}`: a `file:` URL has no host, expected `file:///` before the path"
            ));
        };
        let revision = path.to_str().filter(|_| is_repository);
        let without_revision = revision
            .and_then(|path| path.rsplit_once('@'))
            .map(|(path, _)| PathBuf::from(path));
        let candidates = [Some(path), without_revision].into_iter().flatten();
        let mut there = candidates.filter(|path| path.exists());
        let found = there
            .next()
            .ok_or_else(|| format!("`{text}` names a file or directory that {ABSENT}"))?;
        self.local(found);
        Ok(())
    }
}

/// Returns the path without `.` components, for messages.
fn clean(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| !matches!(part, std::path::Component::CurDir))
        .collect()
}
