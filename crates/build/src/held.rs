//! Responsible for the tree of an environment in scratch: the files of its prefix, together with
//! the files of packages that are held back outside of it.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use condense_image::{BlockDigests, Entry, FileRange, Kind, Mtime, Source, Tree};
use condense_prefix::{Held, HeldContents};

use crate::pack::scan_options;

/// Reads the names and attributes of everything below `root`, and adds what the environment holds
/// back. Everything gets the time `mtime`.
///
/// # Errors
/// Returns an error if a directory cannot be read.
pub(crate) fn scan(
    root: &Path,
    environment: &Path,
    held: Option<&Held>,
    mtime: u32,
) -> Result<Tree, condense_image::Error> {
    let mut tree = Tree::scan(root, &scan_options(Mtime::Set(mtime)))?;
    tree.set_mtime_of_additions(mtime);
    if let Some(held) = held {
        add(&mut tree, environment, held, mtime)?;
    }
    Ok(tree)
}

fn add(
    tree: &mut Tree,
    environment: &Path,
    held: &Held,
    mtime: u32,
) -> Result<(), condense_image::Error> {
    let mut first: HashMap<usize, &Path> = HashMap::new();
    // Few files are in the prefix, and thousands are held back.
    let in_prefix: HashSet<PathBuf> = tree.walk().map(|(path, _)| path).collect();
    let environment = environment.strip_prefix("/").unwrap_or(environment);
    for (path, contents) in held.entries() {
        let full = environment.join(path);
        if in_prefix.contains(&full) {
            if !held.has_copy(path) {
                // The build has written another file at this path.
                continue;
            }
            tree.remove(&full)?;
        }
        match contents {
            HeldContents::Link(target) => tree.add_symlink(full, target)?,
            HeldContents::File {
                file,
                number,
                offset,
                head,
                bytes,
                is_executable,
                digests,
            } => {
                if let Some(known) = first.get(&number) {
                    tree.add_hard_link(full, environment.join(known))?;
                    continue;
                }
                let digests = digests.map(|(all, first)| BlockDigests::new(Arc::clone(all), first));
                let range = FileRange::new(Arc::clone(file), offset);
                let range = range.with_head(head).with_digests(digests);
                let source = Source::Range(range);
                let entry = Entry {
                    mode: if is_executable { 0o755 } else { 0o644 },
                    uid: 0,
                    gid: 0,
                    mtime,
                    links: 1,
                    kind: Kind::File {
                        size: bytes,
                        source,
                    },
                };
                tree.add_entry(full, entry)?;
                first.insert(number, path);
            }
        }
    }
    Ok(())
}
