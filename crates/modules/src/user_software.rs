//! Responsible for packing `user-software` into one file, and for unpacking it.

use std::path::{Path, PathBuf};

use condense_image::{
    ExtractOptions, Modes, PackOptions, Reader, ScanOptions, Tree, extract, pack_at, verify,
};
use condense_publish::{Existing, Output, Staging};

use crate::error::{Error, Result};

/// Maximum number of links that are followed, as in the system.
const LINKS_MOST: usize = 40;

/// Software of the user in the directory of a module.
#[derive(Debug, Clone)]
pub struct UserSoftware {
    /// Directory that containers see as `/user-software`.
    pub dir: PathBuf,
    /// Image of that directory, which takes its place if it exists.
    pub packed: PathBuf,
}

impl UserSoftware {
    /// Returns the paths below the directory of a module, with links followed: EasyBuild removes
    /// that directory when it installs the module again, and its recipes keep the software
    /// elsewhere. The paths need not exist.
    pub fn below(root: &Path) -> Self {
        Self {
            dir: follow(root.join("user-software")),
            packed: follow(root.join("user-software.squashfs")),
        }
    }

    /// Returns the name of an image that `unpack` has set aside.
    pub fn set_aside(&self) -> PathBuf {
        self.packed.with_extension("squashfs.old")
    }
}

/// Returns the path at the end of a chain of links. Its file need not exist.
fn follow(mut path: PathBuf) -> PathBuf {
    for _ in 0..LINKS_MOST {
        let Ok(target) = fs_err::read_link(&path) else {
            break;
        };
        path.pop();
        path.push(target);
    }
    path
}

/// Packs the directory into the image and reads it back. Returns the size of the image in bytes.
/// With `removes`, the directory is removed if it still has exactly the packed contents.
///
/// # Errors
/// Returns an error if there is no directory, if the image exists, if the directory changes
/// meanwhile, or if packing fails. The directory is whole then.
pub fn pack(software: &UserSoftware, options: &PackOptions, removes: bool) -> Result<u64> {
    let UserSoftware { dir, packed } = software;
    if !dir.is_dir() {
        return Err(Error::Nothing {
            path: dir.clone(),
            action: "pack",
        });
    }
    let scan = ScanOptions {
        modes: Modes::Uniform,
        ..ScanOptions::default()
    };
    let tree = Tree::scan(dir, &scan)?;
    let output = Output::create_image(packed, Existing::Refuse)?;
    let mut image = pack_at(&tree, output.path(), 0, options)?;
    verify(&image, &tree, options.threads)?;
    output.publish()?;
    let size = image.size_bytes;
    if removes {
        // Files that came meanwhile would be lost, so the directory is read once more.
        image.path.clone_from(packed);
        verify(&image, &Tree::scan(dir, &scan)?, options.threads)?;
        let trash = Staging::beside(dir)?;
        fs_err::rename(dir, trash.path().join("user-software"))?;
    }
    Ok(size)
}

/// Unpacks the image into the directory. With `sets_aside`, the image gets another name afterwards,
/// so that containers see the directory.
///
/// # Errors
/// Returns an error if there is no image, if the directory exists, if an older image was set aside,
/// or if unpacking fails.
pub fn unpack(software: &UserSoftware, options: &ExtractOptions, sets_aside: bool) -> Result<()> {
    let UserSoftware { dir, packed } = software;
    if !packed.is_file() {
        return Err(Error::Nothing {
            path: packed.clone(),
            action: "unpack",
        });
    }
    let aside = software.set_aside();
    if sets_aside && aside.symlink_metadata().is_ok() {
        return Err(Error::Taken {
            path: aside,
            is_ours: true,
        });
    }
    extract(&Reader::open(packed)?, dir, options)?;
    if sets_aside {
        fs_err::rename(packed, &aside)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs_err::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// B4, B5: nothing is lost on the way to one file and back.
    #[test]
    fn software_is_packed_and_unpacked_whole() {
        let root = tempfile::tempdir().unwrap();
        let software = UserSoftware::below(root.path());
        let options = PackOptions::default();
        let unpacking = ExtractOptions::default();
        assert!(matches!(
            pack(&software, &options, false),
            Err(Error::Nothing { .. })
        ));
        assert!(matches!(
            unpack(&software, &unpacking, false),
            Err(Error::Nothing { .. })
        ));
        let file = software.dir.join("venv/a/odd \"name\"");
        fs_err::create_dir_all(file.parent().unwrap()).unwrap();
        fs_err::write(&file, "text").unwrap();

        pack(&software, &options, false).unwrap();
        assert_eq!(
            names(root.path()),
            ["user-software", "user-software.squashfs"]
        );
        pack(&software, &options, false).unwrap_err();
        fs_err::remove_file(&software.packed).unwrap();
        pack(&software, &options, true).unwrap();
        assert_eq!(names(root.path()), ["user-software.squashfs"]);

        unpack(&software, &unpacking, true).unwrap();
        assert_eq!(
            names(root.path()),
            ["user-software", "user-software.squashfs.old"]
        );
        assert_eq!(fs_err::read_to_string(&file).unwrap(), "text");
        pack(&software, &options, true).unwrap();
        let error = unpack(&software, &unpacking, true).unwrap_err();
        assert!(error.to_string().contains("squashfs.old"), "{error}");
        assert_eq!(
            names(root.path()),
            ["user-software.squashfs", "user-software.squashfs.old"]
        );
    }

    #[test]
    fn a_cancelled_run_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let software = UserSoftware::below(root.path());
        fs_err::create_dir_all(&software.dir).unwrap();
        fs_err::write(software.dir.join("a"), "text").unwrap();
        let options = PackOptions {
            cancel: Some(std::sync::Arc::new(true.into())),
            ..PackOptions::default()
        };
        pack(&software, &options, true).unwrap_err();
        assert_eq!(names(root.path()), ["user-software"]);
    }
}
