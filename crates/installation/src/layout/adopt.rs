//! Responsible for making an installation of Tykky's the first generation of one of ours, with its own files and without a
//! moment in which it does not work.
//!
//! First it is there twice: `.condense/1` has the same files by hard links. Then each name in DIR becomes a link to that, one
//! after the other, while `adopting` says that this has begun; the next build goes on with it if it was killed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::destination::{
    create_dir, generation_dir, links_through_current, target_through_current,
};
use super::staged::replace_link;
use super::{CURRENT, STATE_DIR, all_links};
use crate::error::{Error, Result};
use crate::tykky::Tykky;

/// The number that it gets.
pub(super) const ADOPTED: u32 = 1;

/// Says that names in DIR are being replaced by links.
const ADOPTING: &str = "adopting";

/// Makes it a generation, and the visible one.
pub(super) fn adopt(root: &Path) -> Result<()> {
    let state_dir = root.join(STATE_DIR);
    let tykky = Tykky::read(root)?;
    let copy = state_dir.join(format!("{ADOPTED}.tmp"));
    create_dir(&copy)?;
    let named = [Some(&tykky.container), tykky.image.as_ref()];
    let mut paths: Vec<PathBuf> = all_links().map(|name| root.join(name)).collect();
    paths.extend(named.into_iter().flatten().cloned());
    paths.sort();
    paths.dedup();
    for path in paths.iter().filter(|path| path.symlink_metadata().is_ok()) {
        let name = path.file_name().expect("it is in the installation");
        link_tree(path, &copy.join(name))?;
    }
    fs_err::rename(&copy, generation_dir(root, ADOPTED)).map_err(Error::Io)?;
    fs_err::write(state_dir.join(ADOPTING), "").map_err(Error::Io)?;
    replace_link(
        root,
        Path::new(&ADOPTED.to_string()),
        &state_dir.join(CURRENT),
    )?;
    go_on(root)
}

/// Ends what was begun, if it was.
pub(super) fn go_on(root: &Path) -> Result<()> {
    let state_dir = root.join(STATE_DIR);
    let mark = state_dir.join(ADOPTING);
    if !mark.exists() {
        return Ok(());
    }
    let own = generation_dir(root, ADOPTED);
    for name in all_links() {
        let path = root.join(name);
        let there = path.symlink_metadata().is_ok() && own.join(name).symlink_metadata().is_ok();
        if there && !links_through_current(root, name) {
            swap(root, name, &path)?;
        }
    }
    fs_err::remove_file(&mark).map_err(Error::Io)
}

/// Lets a link take the place of a file or directory.
fn swap(root: &Path, name: &str, path: &Path) -> Result<()> {
    let target = target_through_current(name);
    let is_dir = fs_err::symlink_metadata(path).map_err(Error::Io)?.is_dir();
    if !is_dir {
        return replace_link(root, &target, path);
    }
    let aside = root.join(STATE_DIR).join(format!("{name}.tmp"));
    fs_err::os::unix::fs::symlink(&target, &aside).map_err(Error::Io)?;
    if renameat_with(CWD, &aside, CWD, path, RenameFlags::EXCHANGE).is_err() {
        // Lustre cannot exchange: for the time between two renames the name is not there.
        let old = root.join(STATE_DIR).join(format!("{name}-old.tmp"));
        fs_err::rename(path, &old).map_err(Error::Io)?;
        fs_err::rename(&aside, path).map_err(Error::Io)?;
        fs_err::rename(&old, &aside).map_err(Error::Io)?;
    }
    fs_err::remove_dir_all(&aside).map_err(Error::Io)
}

/// The same files once more; what cannot have a second name is copied.
fn link_tree(from: &Path, to: &Path) -> Result<()> {
    let metadata = fs_err::symlink_metadata(from).map_err(Error::Io)?;
    if metadata.is_dir() {
        create_dir(to)?;
        for entry in fs_err::read_dir(from).map_err(Error::Io)? {
            let entry = entry.map_err(Error::Io)?;
            link_tree(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    if metadata.is_symlink() {
        let target = fs_err::read_link(from).map_err(Error::Io)?;
        return fs_err::os::unix::fs::symlink(target, to).map_err(Error::Io);
    }
    // Another user's file could be changed behind our back, and may not be linked to.
    let own = metadata.uid() == rustix::process::geteuid().as_raw();
    if own && std::fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs_err::copy(from, to).map_err(Error::Io)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::layout::{Destination, State};

    #[test]
    fn it_works_at_every_step_and_is_gone_on_with() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for dir in ["bin", "_bin", "share", STATE_DIR] {
            fs_err::create_dir(root.join(dir)).unwrap();
        }
        for (name, text) in [
            ("bin/tool", "wrapper"),
            ("common.sh", "common"),
            ("base.sif", "base"),
            ("img.sqfs", "image"),
            ("notes.txt", "the user's own"),
            (
                "share/conf.yaml",
                "mode: conda\ninstallation_path: /M\ncontainer_image: base.sif\n",
            ),
        ] {
            fs_err::write(root.join(name), text).unwrap();
        }
        fs_err::os::unix::fs::symlink("/M/bin/tool", root.join("_bin/tool")).unwrap();
        let state = || Destination::inspect(root).unwrap().state().clone();
        assert_eq!(state(), State::Tykky);
        let inode = |path: &str| fs_err::metadata(root.join(path)).unwrap().ino();
        let image = inode("img.sqfs");
        adopt(root).unwrap();
        let check = || {
            for name in ["bin", "_bin", "common.sh", "img.sqfs", "share"] {
                assert!(links_through_current(root, name), "{name}");
            }
            assert_eq!(inode("img.sqfs"), image);
            assert_eq!(
                fs_err::read_to_string(root.join("bin/tool")).unwrap(),
                "wrapper"
            );
            let own = generation_dir(root, ADOPTED);
            assert!(own.join("base.sif").exists() && !own.join("notes.txt").exists());
            let ours = State::Ours {
                generation: ADOPTED,
                receipt: None,
            };
            assert_eq!(state(), ours);
        };
        check();

        // Killed after the first of the names.
        fs_err::remove_file(root.join("bin")).unwrap();
        fs_err::create_dir(root.join("bin")).unwrap();
        fs_err::write(root.join("bin/tool"), "wrapper").unwrap();
        fs_err::write(root.join(STATE_DIR).join(ADOPTING), "").unwrap();
        let claim = Destination::inspect(root).unwrap().claim_for_update();
        drop(claim.unwrap());
        check();
        assert!(!root.join(STATE_DIR).join(ADOPTING).exists());
    }
}
