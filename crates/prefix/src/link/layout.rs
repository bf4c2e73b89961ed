//! Responsible for conflicts in the tree that all packages and the environment form together. There
//! are two cases: one package has a link and another one has files below it, or one has a file and
//! another one a directory at the same path.
//!
//! conda links packages in the order of dependencies, and follows links that exist already. A file
//! below `lib/python3.1` therefore is written into `lib/python3.10`. condense links packages in
//! parallel, so the files get that path before linking. No file is ever linked through a link.

use std::{
    cell::OnceCell,
    collections::{HashMap, HashSet, VecDeque},
    ffi::{OsStr, OsString},
    io::ErrorKind,
    path::{Component, Path, PathBuf},
};

use rattler_conda_types::{PackageName, PackageRecord, RepoDataRecord};

use super::Ready;
use crate::{
    error::Error,
    package::{Entry, Kind, shown_path},
};

/// Number of links that are followed in a path: the limit of the Linux kernel.
const MAX_LINKS: usize = 40;

/// Largest number of passes over the tree. More than one is needed if a moved
/// file is below another link.
const MAX_ROUNDS: usize = 8;

/// Returns the directories that these entries need, with all their parents.
pub(super) fn directories(entries: &[Entry]) -> HashSet<OsString> {
    let mut found: HashSet<OsString> = HashSet::new();
    for entry in entries {
        let itself = entry.kind == Kind::Directory;
        let above = entry.target.ancestors().skip(usize::from(!itself));
        for directory in above {
            if directory.as_os_str().is_empty() || found.contains(directory.as_os_str()) {
                break;
            }
            found.insert(directory.as_os_str().to_owned());
        }
    }
    found
}

/// Moves every file below a link to the path that the link leads to.
///
/// # Errors
/// Returns [`Error::Collision`] if files of two packages conflict.
pub(super) fn resolve_conflicts(
    packages: &mut [Ready],
    records: &[RepoDataRecord],
    env_dir: &Path,
) -> Result<(), Error> {
    for _ in 0..MAX_ROUNDS {
        let moves = Tree::new(packages, records, env_dir)?.moves()?;
        if moves.is_empty() {
            return Ok(());
        }
        for Move { package, entry, to } in moves {
            relocate(&mut packages[package], entry, to, &records[package])?;
        }
        for package in packages.iter_mut() {
            package.directories = directories(&package.package.entries);
        }
    }
    Err(Error::Install {
        package: "several packages".to_owned(),
        source: "their links to directories have no end".into(),
    })
}

struct Move {
    package: usize,
    entry: usize,
    to: PathBuf,
}

/// A link of a package or of the environment at the path of another package's directory.
struct ConflictingLink {
    /// Index of the package with the link; `None` for a link that is already in the environment.
    owner: Option<usize>,
    target: PathBuf,
}

struct Tree<'a> {
    packages: &'a [Ready],
    records: &'a [RepoDataRecord],
    env_dir: &'a Path,
    /// Links at the paths of directories that a package needs.
    links: HashMap<&'a OsStr, ConflictingLink>,
    /// All links of all packages, with their targets. The map is filled only
    /// if `links` is not empty.
    all: HashMap<&'a OsStr, &'a Path>,
    /// Positions of packages in the order of dependencies, computed when they are first needed.
    ranks: OnceCell<HashMap<&'a PackageName, usize>>,
}

impl<'a> Tree<'a> {
    fn new(
        packages: &'a [Ready],
        records: &'a [RepoDataRecord],
        env_dir: &'a Path,
    ) -> Result<Self, Error> {
        let mut tree = Self {
            packages,
            records,
            env_dir,
            links: HashMap::new(),
            all: HashMap::new(),
            ranks: OnceCell::new(),
        };
        let mut needed: HashMap<&OsStr, usize> = HashMap::new();
        for (index, package) in packages.iter().enumerate() {
            for directory in &package.directories {
                needed.entry(directory).or_insert(index);
            }
        }
        let mut there = HashMap::new();
        for (directory, index) in &needed {
            tree.look(directory, *index, &mut there)?;
        }
        let mut of_packages: HashMap<&OsStr, ConflictingLink> = HashMap::new();
        for (index, package) in packages.iter().enumerate() {
            for entry in &package.package.entries {
                let at = entry.target.as_os_str();
                match (&entry.kind, needed.get(at)) {
                    (Kind::Directory, _) => {}
                    (_, None) => tree.refuse_directory(entry, index, &there)?,
                    (Kind::File, Some(other)) => {
                        return Err(tree.collision(at, "a file", Some(index), *other, None));
                    }
                    (Kind::Link(target), Some(_)) => {
                        let found = ConflictingLink {
                            owner: Some(index),
                            target: target.clone(),
                        };
                        // If several packages have a link at this path, the one
                        // that is linked last counts.
                        let old = of_packages.get(at).and_then(|old| old.owner);
                        if old.is_none_or(|old| tree.rank(old) < tree.rank(index)) {
                            of_packages.insert(at, found);
                        }
                    }
                }
            }
        }
        tree.links.extend(of_packages);
        if !tree.links.is_empty() {
            let entries = packages.iter().flat_map(|one| &one.package.entries);
            tree.all = entries
                .filter_map(|entry| match &entry.kind {
                    Kind::Link(target) => Some((entry.target.as_os_str(), target.as_path())),
                    _ => None,
                })
                .collect();
        }
        Ok(tree)
    }

    /// Returns true if the directory is in the environment already. A link at its
    /// path is stored in `links`.
    fn look(
        &mut self,
        directory: &'a OsStr,
        package: usize,
        there: &mut HashMap<&'a OsStr, bool>,
    ) -> Result<bool, Error> {
        if let Some(known) = there.get(directory) {
            return Ok(*known);
        }
        let parent = Path::new(directory)
            .parent()
            .map_or(OsStr::new(""), Path::as_os_str);
        let is_there = (parent.is_empty() || self.look(parent, package, there)?) && {
            let full = self.env_dir.join(directory);
            match fs_err::symlink_metadata(&full) {
                Ok(found) if found.is_dir() => true,
                Ok(found) if found.is_symlink() => {
                    let target =
                        fs_err::read_link(&full).map_err(Error::io("read the link", full))?;
                    let found = ConflictingLink {
                        owner: None,
                        target,
                    };
                    self.links.insert(directory, found);
                    false
                }
                Ok(_) => return Err(self.collision(directory, "a file", None, package, None)),
                Err(error) if error.kind() == ErrorKind::NotFound => false,
                Err(error) => return Err(Error::io("look at", full)(error)),
            }
        };
        there.insert(directory, is_there);
        Ok(is_there)
    }

    /// Refuses a file or link at the path of a directory that is already in the environment.
    fn refuse_directory(
        &self,
        entry: &Entry,
        package: usize,
        there: &HashMap<&OsStr, bool>,
    ) -> Result<(), Error> {
        let parent = entry
            .target
            .parent()
            .map_or(OsStr::new(""), Path::as_os_str);
        if !parent.is_empty() && there.get(parent) != Some(&true) {
            return Ok(());
        }
        let full = self.env_dir.join(&entry.target);
        if !fs_err::symlink_metadata(&full).is_ok_and(|found| found.is_dir()) {
            return Ok(());
        }
        let (path, of) = (shown_path(&entry.target), self.name(Some(package)));
        Err(Error::Collision {
            path,
            what: described(&entry.kind),
            of,
            directory_of: self.name(None),
            why: None,
        })
    }

    fn moves(&self) -> Result<Vec<Move>, Error> {
        let mut moves = Vec::new();
        if self.links.is_empty() {
            return Ok(moves);
        }
        for (index, package) in self.packages.iter().enumerate() {
            // The set `directories` includes all parent directories.
            let below = |path: &OsString| self.links.contains_key(path.as_os_str());
            if !package.directories.iter().any(below) {
                continue;
            }
            let mut checked = HashSet::new();
            for (at, entry) in package.package.entries.iter().enumerate() {
                let first = usize::from(entry.kind != Kind::Directory);
                let above: Vec<&Path> = entry.target.ancestors().skip(first).collect();
                let link = above
                    .iter()
                    .rev()
                    .find_map(|path| self.links.get_key_value(path.as_os_str()));
                let Some((path, link)) = link else {
                    continue;
                };
                if checked.insert(*path) {
                    self.refuse_order(index, path, link)?;
                }
                let to = self
                    .destination(entry)
                    .map_err(|why| self.refused(index, path, link, why))?;
                moves.push(Move {
                    package: index,
                    entry: at,
                    to,
                });
            }
        }
        Ok(moves)
    }

    /// Refuses files below a link that is linked after them, or that belongs to the same package.
    fn refuse_order(
        &self,
        package: usize,
        path: &OsStr,
        link: &ConflictingLink,
    ) -> Result<(), Error> {
        match link.owner {
            Some(owner) if owner == package => {
                Err(self.refused(package, path, link, "both of its own"))
            }
            Some(owner) if self.needs(owner, package) && !self.needs(package, owner) => {
                Err(self.refused(package, path, link, "which has to be there first"))
            }
            _ => Ok(()),
        }
    }

    /// Returns the path without links of a file below a link.
    fn destination(&self, entry: &Entry) -> Result<PathBuf, &'static str> {
        match (&entry.kind, entry.target.parent(), entry.target.file_name()) {
            (Kind::File | Kind::Link(_), Some(parent), Some(name)) => {
                Ok(self.resolved(parent)?.join(name))
            }
            _ => self.resolved(&entry.target),
        }
    }

    fn refused(&self, package: usize, path: &OsStr, link: &ConflictingLink, why: &str) -> Error {
        let what = described(&Kind::Link(link.target.clone()));
        self.collision(path, &what, link.owner, package, Some(why.to_owned()))
    }

    /// Resolves a directory to a path without links. Files outside of the
    /// environment are not accessed.
    fn resolved(&self, path: &Path) -> Result<PathBuf, &'static str> {
        let mut rest: VecDeque<OsString> = path.iter().map(OsStr::to_owned).collect();
        let mut resolved = PathBuf::new();
        let mut followed = 0;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                if !resolved.pop() {
                    return Err("and the link leads out of the environment");
                }
                continue;
            }
            resolved.push(&name);
            let Some(target) = self.link_at(&resolved) else {
                continue;
            };
            followed += 1;
            if followed > MAX_LINKS {
                return Err("and the link leads to itself");
            }
            resolved.pop();
            for part in target.components().rev() {
                match part {
                    Component::CurDir => {}
                    Component::RootDir | Component::Prefix(_) => {
                        return Err("and the link leads out of the environment");
                    }
                    Component::ParentDir | Component::Normal(_) => {
                        rest.push_front(part.as_os_str().to_owned());
                    }
                }
            }
        }
        if resolved.as_os_str().is_empty() {
            return Err("and the link leads to the environment itself");
        }
        Ok(resolved)
    }

    fn link_at(&self, path: &Path) -> Option<PathBuf> {
        if let Some(link) = self.links.get(path.as_os_str()) {
            return Some(link.target.clone());
        }
        match self.all.get(path.as_os_str()) {
            Some(target) => Some((*target).to_owned()),
            None => std::fs::read_link(self.env_dir.join(path)).ok(),
        }
    }

    /// Returns true if a package depends on another one, directly or through other packages.
    fn needs(&self, package: usize, other: usize) -> bool {
        let by_name: HashMap<&str, usize> = self
            .records
            .iter()
            .enumerate()
            .map(|(index, record)| (record.package_record.name.as_normalized(), index))
            .collect();
        let mut seen = HashSet::from([package]);
        let mut rest = vec![package];
        while let Some(index) = rest.pop() {
            for depends in &self.records[index].package_record.depends {
                let name = depends.split(|c: char| c.is_whitespace() || "=<>!~[".contains(c));
                let name = name.map(str::to_lowercase).next().unwrap_or_default();
                if let Some(&found) = by_name.get(name.as_str())
                    && seen.insert(found)
                {
                    rest.push(found);
                }
            }
        }
        package != other && seen.contains(&other)
    }

    /// Returns a package's position in the order of dependencies.
    fn rank(&self, package: usize) -> usize {
        let ranks = self.ranks.get_or_init(|| {
            let sorted = PackageRecord::sort_topologically(self.records.iter().collect::<Vec<_>>());
            let names = sorted.iter().map(|record| &record.package_record.name);
            names.enumerate().map(|(at, name)| (name, at)).collect()
        });
        let name = &self.records[package].package_record.name;
        ranks.get(name).copied().unwrap_or(0)
    }

    fn name(&self, package: Option<usize>) -> String {
        package.map_or_else(
            || "the environment".to_owned(),
            |index| format!("`{}`", self.records[index].identifier.to_file_name()),
        )
    }

    fn collision(
        &self,
        path: &OsStr,
        what: &str,
        owner: Option<usize>,
        directory_of: usize,
        why: Option<String>,
    ) -> Error {
        Error::Collision {
            path: shown_path(Path::new(path)),
            what: what.to_owned(),
            of: self.name(owner),
            directory_of: self.name(Some(directory_of)),
            why,
        }
    }
}

fn described(kind: &Kind) -> String {
    match kind {
        Kind::File => "a file".to_owned(),
        Kind::Link(target) => format!("a link to `{}`", shown_path(target)),
        Kind::Directory => "a directory".to_owned(),
    }
}

/// Moves a file of an unpacked package, so that rattler links it at its new path.
fn relocate(
    ready: &mut Ready,
    entry: usize,
    to: PathBuf,
    record: &RepoDataRecord,
) -> Result<(), Error> {
    let package = &mut ready.package;
    let is_directory = package.entries[entry].kind == Kind::Directory;
    let is_taken = match package.contents.kind(&to) {
        None => false,
        Some(Kind::Directory) => !is_directory,
        Some(_) => true,
    };
    let is_below_a_file = to.ancestors().skip(1).any(|above| {
        !above.as_os_str().is_empty()
            && !matches!(package.contents.kind(above), None | Some(Kind::Directory))
    });
    // rattler's linker would map these directories a second time.
    let is_mapped = package.is_noarch_python
        && (to.starts_with("site-packages") || to.starts_with("python-scripts"));
    if is_taken || is_below_a_file || is_mapped {
        return Err(Error::Install {
            package: record.identifier.to_file_name(),
            source: format!(
                "another package's link makes `{}` of its `{}`, and something else of it is there",
                shown_path(&to),
                shown_path(&package.entries[entry].target)
            )
            .into(),
        });
    }
    let entry = &mut package.entries[entry];
    if !is_directory {
        package
            .contents
            .rename(&entry.path, &to)
            .map_err(|fault| fault.into_error(record))?;
    }
    entry.path.clone_from(&to);
    entry.target = to;
    Ok(())
}
