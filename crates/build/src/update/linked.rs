//! Responsible for the cheap way of changing conda packages: only the records of the old image are
//! unpacked, new packages are linked and compiled beside it, and their files are put onto its
//! blocks without the files of packages that go.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use condense_image::{Child, Kind, Reader, Tree};
use condense_prefix::{
    EnvFiles, Extended, InstallContext, Network, Place, Planned, Solution, StepRunner,
};

use super::{
    change::{Changed, Update},
    grafted::Beside,
    packages::describe,
};
use crate::{container::Mounted, report::Report, space};

/// Directory of the records of conda packages in an environment.
const RECORDS: &str = "conda-meta";
/// Directories with the files that take part in an activation.
const ACTIVATION: [&str; 3] = [
    "etc/conda/activate.d",
    "etc/conda/deactivate.d",
    "etc/conda/env_vars.d",
];
/// Maximum size in bytes of a record, or a file of the activation.
pub(super) const RECORD_BYTES_MAX: u64 = 1 << 28;

/// Result of an attempt to change packages beside the old image.
pub(super) enum Attempt {
    Made(Box<Changed>),
    /// The packages stay as they are.
    Idle,
    /// The environment must be unpacked, for this reason. The solved change is still to be made.
    NeedsWhole(String, Box<Planned>),
}

impl Update<'_> {
    /// Solves the change of the conda packages of a locked environment, and makes it.
    ///
    /// # Errors
    /// Returns an error if the environment cannot be solved, or if packages cannot be fetched,
    /// linked, compiled or packed.
    pub(super) fn change_linked(
        &self,
        solution: &Solution,
        path: &Path,
    ) -> anyhow::Result<Attempt> {
        let (build, facts) = (self.build, &self.change.facts);
        let (place, _) = self.place_beside()?;
        let donor = self.change.donor()?;
        unpack_records(donor.reader(), &place)?;
        let mut asked = facts.spec.clone();
        asked.add_requests_of_history(&place)?;
        let planned = facts
            .conda
            .plan((&asked, solution), facts, self.change.before, build)?;
        if planned.is_idle() && facts.is_rest_idle {
            return Ok(Attempt::Idle);
        }
        if let Some(reason) = self.reason_before_linking(&planned) {
            return Ok(Attempt::NeedsWhole(reason, Box::new(planned)));
        }
        let linked = self.link_beside(&planned, &place)?;
        let mut tree = donor.tree()?;
        let gone = omit_unlinked(&mut tree, &place.environment, &linked);
        let reason = match reason_after_linking(&linked, &tree, &place) {
            Some(reason) => Some(reason),
            None => self.compile(donor.reader(), &linked, &place)?,
        };
        if let Some(reason) = reason {
            return Ok(Attempt::NeedsWhole(reason, Box::new(planned)));
        }
        forget_kept_records(&place, &linked)?;
        build.refuse_interrupted()?;
        describe(&linked, build.report());
        let beside = Beside {
            pip_packages: self.pip_packages(None),
            has_new_files: !linked.linked.is_empty(),
            gone,
            pip_report: None,
            solution: linked.solution,
            asked: Some(planned.asked),
            place,
        };
        let changed = self.finish_beside(beside, (tree, donor), path)?;
        Ok(Attempt::Made(Box::new(changed)))
    }

    /// Returns why the change needs the whole environment, as far as the packages' names show it.
    pub(super) fn reason_before_linking(&self, planned: &Planned) -> Option<String> {
        let gone: Vec<&str> = planned.gone_names().collect();
        if planned
            .added
            .names()
            .chain(gone.iter().copied())
            .any(|name| name == "python")
        {
            return Some("its Python changes".to_owned());
        }
        let replaced = &self.change.before.receipt.update_state.replaced_by_pip;
        let replaced = replaced.iter().find(|name| gone.contains(&name.as_str()))?;
        Some(format!("pip has replaced files of `{replaced}`"))
    }

    /// Fetches the new packages, and links them into the environment of records at `place`.
    fn link_beside(&self, planned: &Planned, place: &Place) -> anyhow::Result<Extended> {
        let build = self.build;
        let progress: &Report = build.report();
        let runtime = condense_threads::network()?;
        let network = Network::open(build.network_settings())?;
        space::check_packages(&planned.added, &network, build.scratch(), build.destination)?;
        let context = InstallContext {
            target: &self.change.facts.target,
            network: &network,
            place,
            scratch: build.scratch(),
        };
        let linked = runtime.block_on(condense_prefix::apply(
            planned,
            &context,
            EnvFiles::Records,
            progress,
        ))?;
        Ok(linked)
    }

    /// Compiles the sources of the linked packages with the interpreter of the old image. Returns
    /// why that needs the whole environment, if it does.
    fn compile(
        &self,
        old: &Reader,
        linked: &Extended,
        place: &Place,
    ) -> anyhow::Result<Option<String>> {
        let (build, change) = (self.build, self.change);
        let progress: &Report = build.report();
        let within = place.open_env()?;
        let mut shown = Vec::new();
        for path in condense_prefix::byte_code_of_interpreter(&linked.solution)? {
            let Some(node) = old.lookup(place.environment.join(&path))? else {
                continue;
            };
            within.make_dir(path.parent().unwrap_or(Path::new("")))?;
            within.write(&path, old.read(&node, RECORD_BYTES_MAX)?)?;
            shown.push(path);
        }
        let container = match &change.unmountable {
            Some(_) => None,
            None => build.container_with(
                Mounted::Image(change.before.image_path()),
                place,
                vec![build.scratch().to_owned()],
            ),
        };
        let runner = container
            .as_ref()
            .map(|container| container as &dyn StepRunner);
        let is_compiled = condense_prefix::compile_beside(place, linked, runner, progress)?;
        for path in shown {
            for path in path.ancestors().filter(|path| *path != Path::new("")) {
                within.remove(path)?;
            }
        }
        if is_compiled {
            return Ok(None);
        }
        Ok(Some(match &change.unmountable {
            Some(reason) => reason.to_string(),
            None => "there is no runtime that would mount it".to_owned(),
        }))
    }
}

/// Unpacks the records of packages, and what else is in their directory.
fn unpack_records(old: &Reader, place: &Place) -> anyhow::Result<()> {
    let below = place.environment.join(RECORDS);
    let dir = old.lookup(&below)?;
    let dir = dir.context("the image has records of its packages")?;
    let env = place.open_env()?;
    env.make_dir(RECORDS)?;
    for entry in old.list(&dir)? {
        let node = old.node(&entry)?;
        if node.is_file() {
            let path = Path::new(RECORDS).join(&entry.name);
            env.write(path, old.read(&node, RECORD_BYTES_MAX)?)?;
        }
    }
    Ok(())
}

/// Removes the records of packages that stay as they are: the old image has them.
fn forget_kept_records(place: &Place, linked: &Extended) -> anyhow::Result<()> {
    let env = place.open_env()?;
    for name in env.names(RECORDS)? {
        let path = Path::new(RECORDS).join(&name);
        let is_record = path.extension() == Some(OsStr::new("json"));
        let is_state = name == OsStr::new("state");
        if is_state || (is_record && !linked.records.contains(&path)) {
            env.remove(path)?;
        }
    }
    Ok(())
}

/// Removes the files of packages that go, and their byte code, from the tree of the old image.
/// Returns their paths in the image.
fn omit_unlinked(tree: &mut Tree, environment: &Path, linked: &Extended) -> Vec<PathBuf> {
    let mut gone = Vec::new();
    for path in &linked.unlinked {
        let path = environment.join(path);
        if path.extension() == Some(OsStr::new("py")) {
            let dir = tree.entry_at(path.with_file_name("__pycache__"));
            if let Some(Kind::Directory(children)) = dir.map(|dir| &dir.kind) {
                let names = children.iter().map(Child::name);
                gone.extend(condense_prefix::byte_code_of(&path, names));
            }
            gone.extend(condense_prefix::old_byte_code_of(&path));
        }
        gone.push(path);
    }
    let stays = |dir: &Path| {
        let below = dir.strip_prefix(environment);
        below.is_ok_and(|below| linked.kept_dirs.contains(below))
    };
    gone.retain(|path| {
        let is_full = match tree.entry_at(path).map(|entry| &entry.kind) {
            Some(Kind::Directory(children)) => !children.is_empty(),
            Some(_) => false,
            None => true,
        };
        !is_full && tree.omit_but(path, &stays)
    });
    gone
}

/// Returns why the linked packages need the whole environment, if they do.
fn reason_after_linking(linked: &Extended, tree: &Tree, place: &Place) -> Option<String> {
    if let Some(package) = linked.post_link_packages().next() {
        return Some(format!("the post-link script of `{package}` runs in it"));
    }
    let mut files = linked.linked.iter().chain(&linked.unlinked);
    let of_activation = |file: &&PathBuf| ACTIVATION.iter().any(|dir| file.starts_with(dir));
    if let Some(file) = files.find(of_activation) {
        return Some(format!("`{}` takes part in its activation", file.display()));
    }
    let env = place.scratch_env();
    let is_dir = |path: &Path| {
        let entry = tree.entry_at(place.environment.join(path));
        entry.map(|entry| entry.kind.is_directory())
    };
    let meets = |path: &&PathBuf| {
        let is_new_dir = env
            .join(path)
            .symlink_metadata()
            .is_ok_and(|new| new.is_dir());
        let is_there = is_dir(path).is_some_and(|is_dir| !(is_dir && is_new_dir));
        let mut above = path.ancestors().skip(1);
        is_there || above.any(|dir| is_dir(dir) == Some(false))
    };
    let met = linked.linked.iter().find(meets)?;
    Some(format!("`{}` is there already", met.display()))
}
