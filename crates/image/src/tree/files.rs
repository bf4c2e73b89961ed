//! Responsible for single files of a tree: adding one from disk, reading one, and changing
//! permissions.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::{Kind, Source, Tree, invalid};
use crate::Error;
use crate::content::Content;
use crate::source::{DiskFile, LastDirectory, Stamp};

/// `f_type` of file systems of the kernel, whose files have another size than they say: proc,
/// sysfs, cgroup, cgroup2, debugfs, tracefs, securityfs, configfs, selinuxfs, efivarfs, pstore.
const KERNEL_FILE_SYSTEMS: [i64; 11] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0x6265_6570,
    0xf97c_ff8c,
    0xde5e_81e4,
    0x6165_676c,
];
/// Maximum size in bytes of a file that does not say its size.
const UNKNOWN_SIZE_MOST: u64 = 16 << 20;

impl Tree {
    /// Adds a file of this machine with these permissions, and its parent directories. Its content
    /// is read when the tree is packed, but at once if the file does not say its size, as those of
    /// the kernel in `/proc`. Symlinks in `source` are followed.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the file cannot be opened or read, [`Error::InvalidEntry`] if it is
    /// not a regular file or the path is taken, and [`Error::UnknownSize`] if it is too large for a
    /// file of the kernel.
    pub fn add_disk_file(
        &mut self,
        path: impl AsRef<Path>,
        source: &Path,
        mode: u16,
    ) -> Result<(), Error> {
        let path = path.as_ref();
        let source = fs_err::canonicalize(source).map_err(Error::io("open", source))?;
        let (Some(directory), Some(name)) = (source.parent(), source.file_name()) else {
            return Err(invalid(path, "its source is not a regular file"));
        };
        let metadata = fs_err::metadata(&source).map_err(Error::io("open", &source))?;
        if !metadata.is_file() {
            return Err(invalid(path, "its source is not a regular file"));
        }
        let stamp = Stamp::from_metadata(&metadata);
        let file = DiskFile::new(Arc::from(directory), name.to_owned(), stamp);
        // A file that cannot be read is found now, and not after the rest is packed.
        let opened = file.open(&mut LastDirectory::default())?;
        let is_of_kernel = is_of_kernel(&opened);
        let bytes = content_of_unknown_size(opened, metadata.size(), is_of_kernel)
            .map_err(Error::io("read", &source))?;
        if let Some(bytes) = bytes {
            if bytes.len() as u64 > UNKNOWN_SIZE_MOST {
                let problem = if is_of_kernel {
                    "is a file of the kernel with more than 16 MiB"
                } else {
                    "does not say its size, and has more than 16 MiB"
                };
                let path = source;
                return Err(Error::UnknownSize { path, problem });
            }
            return self.add_bytes(path, bytes, mode);
        }
        let kind = Kind::File {
            size: metadata.size(),
            source: Source::Disk(file),
        };
        self.add(path, mode & 0o7777, kind)
    }

    /// Returns the first `len_max` bytes of the file at a path, or `None` if there is no file.
    /// Symlinks are not followed.
    pub fn read(&self, path: impl AsRef<Path>, len_max: usize) -> Result<Option<Vec<u8>>, Error> {
        let Some(entry) = self.entry_at(path) else {
            return Ok(None);
        };
        let Kind::File { size, source } = &entry.kind else {
            return Ok(None);
        };
        let len = usize::try_from(*size).unwrap_or(usize::MAX).min(len_max);
        let mut buffer = vec![0; len];
        let content = Content::open(source, &mut LastDirectory::default())?;
        let bytes = content.read(&mut buffer, 0)?.to_vec();
        Ok(Some(bytes))
    }

    /// Changes the permissions of the entry at a path.
    ///
    /// # Errors
    /// Returns [`Error::NotFound`] if there is no such entry.
    pub fn set_mode(&mut self, path: impl AsRef<Path>, mode: u16) -> Result<(), Error> {
        let id = self.find(path.as_ref())?;
        self.entries[id.index()].mode = mode & 0o7777;
        Ok(())
    }

    /// Changes the permissions of all entries: `change` gets each entry and returns its new
    /// permissions.
    pub fn change_modes(&mut self, change: impl Fn(&super::Entry) -> u16) {
        for entry in &mut self.entries {
            entry.mode = change(entry) & 0o7777;
        }
    }
}

fn is_of_kernel(file: &File) -> bool {
    #[allow(clippy::unnecessary_cast, reason = "its type differs between machines")]
    let kind = rustix::fs::fstatfs(file).map(|system| system.f_type as i64);
    kind.is_ok_and(|kind| KERNEL_FILE_SYSTEMS.contains(&kind))
}

/// Returns what a file has, up to a little more than the maximum, or `None` if its size is right.
fn content_of_unknown_size(
    file: File,
    size: u64,
    is_of_kernel: bool,
) -> io::Result<Option<Vec<u8>>> {
    if size > 0 && !is_of_kernel {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    // Some files of the kernel can be read only in whole words.
    file.take(UNKNOWN_SIZE_MOST + 4096)
        .read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| size > 0 || !bytes.is_empty()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use condense_diagnostics::Hint;

    #[test]
    fn a_file_of_the_disk_is_added_read_and_changed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs_err::write(&file, "content").unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
        let mut tree = Tree::new();
        let link = dir.path().join("link");
        tree.add_disk_file("a/b", &link, 0o4640).unwrap();
        assert_eq!(tree.entry_at("a/b").unwrap().mode, 0o4640);
        assert_eq!(tree.read("a/b", 4).unwrap().unwrap(), b"cont");
        assert_eq!(tree.read("a/b", 100).unwrap().unwrap(), b"content");
        assert!(tree.read("a", 1).unwrap().is_none());
        assert!(tree.read("none", 1).unwrap().is_none());
        tree.set_mode("/a/b", 0o400).unwrap();
        tree.change_modes(|entry| entry.mode | 0o100);
        assert_eq!(tree.entry_at("a/b").unwrap().mode, 0o500);
        assert!(tree.set_mode("none", 0).is_err());
        assert!(tree.add_disk_file("a/b", &link, 0o644).is_err());
        assert!(tree.add_disk_file("c", dir.path(), 0o644).is_err());
        assert!(
            tree.add_disk_file("c", &dir.path().join("none"), 0o644)
                .is_err()
        );
    }

    #[test]
    fn a_file_of_the_kernel_is_read_to_its_end() {
        let mut tree = Tree::new();
        for (name, source) in [
            ("version", "/proc/version"),
            ("page", "/sys/kernel/profiling"),
        ] {
            let Ok(content) = fs_err::read(source) else {
                continue;
            };
            assert!(!content.is_empty());
            tree.add_disk_file(name, Path::new(source), 0o644).unwrap();
            assert_eq!(tree.read(name, 1 << 20).unwrap().unwrap(), content);
        }
        // The table of the pages of a process is larger than any file that is copied.
        let pages = Path::new("/proc/self/pagemap");
        let error = tree.add_disk_file("pages", pages, 0o644).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("/pagemap` is a file of the kernel with more than 16 MiB"),
            "{error}"
        );
        let hint = error.hint().unwrap();
        assert!(
            hint.starts_with("copy what you need of it to a file"),
            "{hint}"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        tree.add_disk_file("empty", file.path(), 0o644).unwrap();
        assert_eq!(tree.read("empty", 9).unwrap().unwrap(), b"");
    }
}
