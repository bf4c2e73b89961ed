//! Responsible for turning an installation of Tykky into the first generation of a condense
//! installation. The generation keeps Tykky's files, and the installation works at every moment.
//!
//! First `.condense/1` gets hard links to the same files. Then each name in DIR is replaced by a
//! link to the generation, one after the other. The file `adopting` marks this phase. If the build
//! is killed meanwhile, the next build completes the replacement.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use condense_publish::{sync_directory, sync_tree};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::paths::{
    CURRENT, STATE_DIR, create_dir, generation_dir, links_through_current, names_of, replace_link,
    target_through_current, usual_names,
};
use crate::error::{Error, Result};
use crate::tykky::Tykky;

/// Number of the generation that holds Tykky's files.
pub(super) const ADOPTED: u32 = 1;

/// Name of the file that marks the phase in which names in DIR are replaced by links.
const ADOPTING: &str = "adopting";

/// Makes Tykky's files a generation, and makes this generation visible.
pub(super) fn adopt(root: &Path) -> Result<()> {
    let state_dir = root.join(STATE_DIR);
    let copy = state_dir.join(format!("{ADOPTED}.tmp"));
    // An earlier attempt that was killed before it became visible may have left an incomplete
    // generation.
    let earlier = generation_dir(root, ADOPTED);
    if earlier.symlink_metadata().is_ok() {
        fs_err::rename(&earlier, &copy).map_err(Error::Io)?;
        fs_err::remove_dir_all(&copy).map_err(Error::Io)?;
    }
    create_dir(&copy)?;
    for name in names_of_tykky(root)? {
        let path = root.join(&name);
        if path.symlink_metadata().is_ok() {
            link_tree(&path, &copy.join(name))?;
        }
    }
    sync_tree(&copy)?;
    fs_err::rename(&copy, &earlier).map_err(Error::Io)?;
    fs_err::write(state_dir.join(ADOPTING), "").map_err(Error::Io)?;
    replace_link(
        root,
        Path::new(&ADOPTED.to_string()),
        &state_dir.join(CURRENT),
    )?;
    sync_directory(&state_dir)?;
    complete_adoption(root)
}

/// Returns the names that an installation of Tykky may have in DIR. The names of the base and the
/// image depend on the site's configuration.
pub(super) fn names_of_tykky(root: &Path) -> Result<Vec<OsString>> {
    let tykky = Tykky::read(root)?;
    let files = [Some(&tykky.container), tykky.image.as_ref()];
    let files = files
        .into_iter()
        .flatten()
        .filter_map(|path| path.file_name());
    let mut names: Vec<OsString> = usual_names().map(OsString::from).collect();
    names.extend(files.map(OsStr::to_owned));
    names.sort();
    names.dedup();
    Ok(names)
}

/// Completes a replacement of names in DIR that a killed build has begun, if there is one.
pub(super) fn complete_adoption(root: &Path) -> Result<()> {
    complete_adoption_by(root, exchange)
}

/// A function that swaps two paths in one step.
type Exchange = fn(&Path, &Path) -> rustix::io::Result<()>;

fn exchange(one: &Path, other: &Path) -> rustix::io::Result<()> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)
}

fn complete_adoption_by(root: &Path, exchange: Exchange) -> Result<()> {
    let mark = root.join(STATE_DIR).join(ADOPTING);
    if !mark.exists() {
        return Ok(());
    }
    for name in names_of(&generation_dir(root, ADOPTED))? {
        if !links_through_current(root, &name) {
            swap(root, &name, exchange)?;
        }
    }
    sync_directory(root)?;
    fs_err::remove_file(&mark).map_err(Error::Io)
}

/// Replaces a file or directory in DIR by a link to the same name in the generation.
fn swap(root: &Path, name: &OsStr, exchange: Exchange) -> Result<()> {
    let (path, target) = (root.join(name), target_through_current(name));
    // The name is missing if the last attempt was killed between the two renames below. The
    // generation has all files.
    if !path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        return replace_link(root, &target, &path);
    }
    let aside = temporary(root, name, ".tmp");
    fs_err::os::unix::fs::symlink(&target, &aside).map_err(Error::Io)?;
    if exchange(&aside, &path).is_err() {
        // Lustre cannot exchange two paths, so the name is missing between the two renames.
        let old = temporary(root, name, "-old.tmp");
        fs_err::rename(&path, &old).map_err(Error::Io)?;
        if let Err(error) = fs_err::rename(&aside, &path) {
            let _ = fs_err::rename(&old, &path);
            return Err(Error::Io(error));
        }
        fs_err::rename(&old, &aside).map_err(Error::Io)?;
    }
    fs_err::remove_dir_all(&aside).map_err(Error::Io)
}

/// Returns the path of a temporary file. If a build is killed, the next build removes files with
/// such names.
fn temporary(root: &Path, name: &OsStr, end: &str) -> PathBuf {
    let mut name = name.to_owned();
    name.push(end);
    root.join(STATE_DIR).join(name)
}

/// Links the same files into another directory. A file that cannot get a second name is copied.
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
    // The owner of the file could change it later, and the kernel may forbid links to other users'
    // files.
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
    fn adoption_keeps_the_installation_working_and_is_completed_after_a_kill() {
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
            let ours = State::Condense {
                generation: ADOPTED,
                receipt: None,
            };
            assert_eq!(state(), ours);
        };
        check();

        // The build is killed before, between and after the two renames of a name, on a file system
        // that cannot exchange two paths.
        let refuse: Exchange = |_, _| Err(rustix::io::Errno::INVAL);
        let state_dir = root.join(STATE_DIR);
        let restore = || {
            fs_err::remove_file(root.join("bin")).unwrap();
            fs_err::create_dir(root.join("bin")).unwrap();
            fs_err::write(root.join("bin/tool"), "wrapper").unwrap();
            fs_err::write(state_dir.join(ADOPTING), "").unwrap();
        };
        let link = |name: &str| {
            fs_err::os::unix::fs::symlink(target_through_current("bin".as_ref()), name).unwrap();
        };
        for killed in [
            "before",
            "with a link aside",
            "between",
            "behind",
            "in a link",
        ] {
            restore();
            let (aside, old) = (state_dir.join("bin.tmp"), state_dir.join("bin-old.tmp"));
            match killed {
                "with a link aside" => link(aside.to_str().unwrap()),
                "between" => {
                    link(aside.to_str().unwrap());
                    fs_err::rename(root.join("bin"), &old).unwrap();
                }
                "behind" => {
                    fs_err::rename(root.join("bin"), &old).unwrap();
                    link(root.join("bin").to_str().unwrap());
                }
                "in a link" => link(state_dir.join("link.tmp").to_str().unwrap()),
                _ => {}
            }
            // Any operation that changes the installation completes the replacement.
            if killed == "between" {
                crate::History::open(root)
                    .unwrap()
                    .roll_back(Some(1))
                    .unwrap();
            } else {
                let claim = Destination::inspect(root).unwrap().claim_for_update();
                drop(claim.unwrap());
            }
            check();
            assert_eq!(names_of(&state_dir).unwrap(), ["1", "current", "lock"]);
        }
        restore();
        complete_adoption_by(root, refuse).unwrap();
        check();
        assert_eq!(names_of(&state_dir).unwrap(), ["1", "current", "lock"]);
    }
}
