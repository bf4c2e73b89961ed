//! Responsible for the prefix in scratch: its packages are solved or locked, fetched and linked,
//! and its steps are run.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::bail;
use condense_check::MpiUse;
use condense_diagnostics::UserError;
use condense_image::{ImageBlocks, Tree};
use condense_installation::InterpreterRecord;
use condense_prefix::{
    BuildSteps, CondaFacts, EnvironmentSpec, Finished, Held, KeptPackages, Network, Place, Runner,
    Solution, Start, StartFiles, Target,
};
use indicatif::HumanBytes;

use crate::{
    build::Build,
    conda::Conda,
    container::Container,
    damage::{is_damage, names_in, remove_damaged},
    environment::Environment,
    held,
    held_image::HeldImage,
    host_runner::HostRunner,
    plan::MountPoint,
    report::Report,
    space,
};

/// Way in which the files of packages are unpacked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unpacked {
    /// Every file is in the prefix, where scripts and pip look for it.
    AsFiles,
    /// Files that nothing needs as files before they are packed are held back.
    AsNeeded,
}

/// A prefix whose steps have not run yet.
pub(crate) struct Installed {
    pub(crate) place: Place,
    pub(crate) solution: Solution,
    pub(crate) steps: BuildSteps,
    /// Variables that the base sets.
    pub(crate) base_env_vars: BTreeMap<String, String>,
}

/// A prefix whose steps have run.
pub(crate) struct FinishedPrefix {
    /// MPI that its programs need.
    pub(crate) mpi: Option<MpiUse>,
    pub(crate) place: Place,
    pub(crate) solution: Solution,
    /// The packages that were asked for, also by scripts that called `conda`.
    pub(crate) asked: EnvironmentSpec,
    pub(crate) finished: Finished,
    /// Variables that the base sets.
    pub(crate) base_env_vars: BTreeMap<String, String>,
    /// Directories of the user that the environment links to.
    pub(crate) linked_dirs: Vec<PathBuf>,
    /// Interpreter of a virtual environment.
    pub(crate) interpreter: Option<InterpreterRecord>,
    /// Files that come first in the image, relative to the environment. `None` if nobody knows.
    pub(crate) hot_files: Option<Vec<String>>,
    /// Blocks of the image that were compressed already.
    pub(crate) packed_ahead: Option<ImageBlocks>,
    /// Files of the prefix, if nothing has run in it since they were listed. Whoever writes there
    /// does not use them.
    pub(crate) tree: Option<Tree>,
}

impl FinishedPrefix {
    /// Returns the paths of the files that come first in the image, relative to its root.
    pub(crate) fn hot_paths(&self) -> Vec<PathBuf> {
        let files = self.hot_files.iter().flatten();
        files
            .map(|file| self.place.environment.join(file))
            .collect()
    }
}

impl Build<'_> {
    /// Makes a finished prefix in scratch. If an unpacked package of the cache turns out to be
    /// damaged, it is removed, and everything is made once more.
    ///
    /// # Errors
    /// Returns the error of the first step that fails.
    pub(crate) fn make_prefix(
        &self,
        environment: &Environment,
        mount_point: &MountPoint,
    ) -> anyhow::Result<FinishedPrefix> {
        let before = names_in(self.scratch())?;
        let made = self.try_to_make_prefix(environment, mount_point);
        let Some(error) = made.as_ref().err().filter(|error| is_damage(error)) else {
            return made;
        };
        remove_damaged(error, self.report());
        let text = "an unpacked package in the cache is damaged, and is unpacked again";
        self.report().warning(text);
        for name in names_in(self.scratch())?.difference(&before) {
            condense_publish::remove_tree(&self.scratch().join(name));
        }
        self.try_to_make_prefix(environment, mount_point)
    }

    fn try_to_make_prefix(
        &self,
        environment: &Environment,
        mount_point: &MountPoint,
    ) -> anyhow::Result<FinishedPrefix> {
        let Environment { spec, target, .. } = environment;
        let installed = if let Some(venv) = &self.venv {
            self.install_venv(venv, environment, mount_point)?
        } else {
            // pip and a start that shows which files come first import packages. Without a runtime,
            // which mounts an image of them, they need them as files. uv, and pip for a link to a
            // directory, write into the environment. Whoever keeps scratch wants to look at the
            // files.
            let has_pip = environment.has_pip();
            let imports = self.known_hot_files().is_none() || has_pip;
            let needs_files = self.inputs.has_scripts()
                || imports && self.prepared.runtime.is_none()
                || has_pip && (self.inputs.uv().is_some() || self.inputs.keeps_editable())
                || self.settings().keep_scratch;
            let way = if needs_files {
                Unpacked::AsFiles
            } else {
                Unpacked::AsNeeded
            };
            self.install_packages(environment, mount_point, way)?
        };
        self.finish_prefix(installed, spec, target)
    }

    /// Runs the steps of a prefix that has its packages.
    ///
    /// # Errors
    /// Returns the error of the first step that fails.
    pub(crate) fn finish_prefix(
        &self,
        installed: Installed,
        spec: &EnvironmentSpec,
        target: &Target,
    ) -> anyhow::Result<FinishedPrefix> {
        let Installed {
            place,
            mut solution,
            mut steps,
            base_env_vars,
        } = installed;
        let interpreter = self.interpreter_record(steps.prefix());
        if self.has_wrappers {
            steps.prefix().install_executable_hook()?;
        }
        let known_hot = self.known_hot_files();
        let wants_start = known_hot.is_none() && steps.has_python();
        let mut start = wants_start.then(|| Start::new(spec, &self.inputs.warm().code));
        let image = HeldImage::prepare(self, &place, &steps, self.mtime(&solution))?;
        let has_runtime = self.prepared.runtime.is_some();
        if let Some(start) = start.take_if(|_| !has_runtime) {
            steps.record_start(start);
        }
        // Every file has its name in the prefix by now; the unpacked trees go while the steps run.
        let packages = place.packages.clone();
        let removal =
            condense_threads::spawn(move || condense_publish::remove_tree(&packages)).ok();
        let linked_dirs = self.linked_dirs(&mut steps);
        self.inputs.apply(&mut steps);
        if let Some(code) = self.report().code() {
            steps.use_code(code);
        }
        let container = self.container_of_steps(&place, &steps)?;
        let conda = if self.inputs.has_scripts() && self.venv.is_none() {
            Some(Conda::open(self, target, &place, spec, solution.clone())?)
        } else {
            None
        };
        let (container, image) = (container.as_ref(), image.as_ref());
        let mut finished = self.run_steps(steps, &place, container, image, conda.as_ref())?;
        let new_packages = finished.held.as_mut().map(Held::take_new_packages);
        self.report()
            .hold_packages(new_packages.unwrap_or_default());
        let mut asked = spec.clone();
        if let Some(conda) = conda {
            (solution, asked) = conda.into_result();
        }
        condense_prefix::stamp_bytecode(&place, self.mtime(&solution))?;
        CondaFacts {
            solution: &solution,
            spec: &asked,
            pip_packages: &finished.pip_packages,
            replaced_by_pip: &finished.replaced_by_pip,
            settings: &self.conda_settings,
        }
        .write(&place)?;
        for (script, reason) in &finished.activation.reasons {
            self.report()
                .info(format!("`{script}` is sourced at every start: {reason}"));
        }
        // A removal that panics, or that gets no thread, leaves its tree in scratch. The tree is
        // removed together with scratch.
        drop(removal.map(std::thread::JoinHandle::join));
        self.refuse_interrupted()?;
        let (root, checks) = (&place.root, self.check_context());
        let (mut packed_ahead, mut unchanged) = (None, None);
        let mpi = if finished.held.is_some() {
            let mtime = self.mtime(&solution);
            let tree = held::scan(root, &place.environment, finished.held.as_ref(), mtime)?;
            let mpi = checks.check_tree(&tree, &place.mount_point, &linked_dirs)?;
            let mut has_run = false;
            let environment = condense_prefix::finished_digest(spec, &solution, &finished);
            if let (Some(image), Some(start), Some(held)) = (image, &start, &mut finished.held) {
                finished.start_files = image.known_start(start, environment);
                if finished.start_files.is_none() {
                    let record = || image.record(start, environment, &tree, held);
                    let (recorded, blocks) = self.pack_ahead(&tree, record);
                    packed_ahead = blocks;
                    finished.start_files = Some(recorded?);
                    has_run = true;
                }
            }
            unchanged = (!has_run).then_some(tree);
            mpi
        } else {
            if let Some(start) = &start {
                finished.start_files = Some(self.record_on_files(start, &place)?);
            }
            checks.check_result(root, &place.mount_point, &linked_dirs)?
        };
        let hot_files = known_hot.or_else(|| self.hot_files_of(&finished));
        Ok(FinishedPrefix {
            mpi,
            place,
            solution,
            asked,
            finished,
            base_env_vars,
            linked_dirs,
            interpreter,
            hot_files,
            packed_ahead,
            tree: unchanged,
        })
    }

    /// Returns the files that come first in the image if no start has to show them: none, or those
    /// of the lock.
    fn known_hot_files(&self) -> Option<Vec<String>> {
        let warm = self.inputs.warm();
        if warm.is_off {
            return Some(Vec::new());
        }
        let of_lock = self.locked_hot_files.clone();
        of_lock.filter(|_| warm.code.is_empty())
    }

    /// Returns the files that the start has read, and tells what of it has failed.
    fn hot_files_of(&self, finished: &Finished) -> Option<Vec<String>> {
        let start = finished.start_files.as_ref()?;
        for failed in &start.failed {
            let report = self.report();
            report.info(format!("not in the start that orders the image: {failed}"));
        }
        let recorded = recorded(start);
        if recorded.is_none() {
            self.report()
                .info("no start was recorded, so no files come first in the image");
        }
        recorded
    }

    /// Returns the directories of this machine that the finished environment refers to.
    fn linked_dirs(&self, steps: &mut BuildSteps) -> Vec<PathBuf> {
        let mut dirs = Vec::new();
        if self.inputs.keeps_editable() {
            steps.keep_editable();
            dirs = steps.editable_dirs();
        }
        dirs.extend(self.interpreter_tree());
        dirs
    }

    /// Returns the container in which the steps of the prefix run, or `None` if there is no runtime
    /// and no step needs one.
    fn container_of_steps<'b>(
        &'b self,
        place: &'b Place,
        steps: &BuildSteps,
    ) -> anyhow::Result<Option<Container<'b>>> {
        let shown = [steps.local_paths(), self.shown_to_steps()].concat();
        self.warn_of_home(&shown);
        let container = self.container(place, shown);
        let needs = steps.needs_container();
        if container.is_none() && !needs.is_empty() {
            bail!(UserError::new(
                format!(
                    "{} must run in a container, and neither apptainer nor singularity is on PATH",
                    needs.join(", ")
                ),
                "load the module of your container runtime",
            ));
        }
        Ok(container)
    }

    /// Returns the files and directories of this machine that any step may need.
    pub(crate) fn shown_to_steps(&self) -> Vec<PathBuf> {
        [self.inputs.shown(), self.interpreter_tree()].concat()
    }

    /// Runs the steps, and answers the requests of their scripts to conda.
    fn run_steps(
        &self,
        steps: BuildSteps,
        place: &Place,
        container: Option<&Container>,
        image: Option<&HeldImage>,
        conda: Option<&Conda>,
    ) -> anyhow::Result<Finished> {
        let progress: &Report = self.report();
        let finished = std::thread::scope(|scope| {
            if let Some(conda) = conda {
                condense_threads::scoped(scope, || conda.serve())?;
            }
            let build_dir = place.build_dir();
            let host = HostRunner {
                build_dir: &build_dir,
                build_env: &self.settings().build_env,
                checks: &self.settings().checks,
                report: self.report(),
            };
            let runner = match (container, image) {
                (Some(container), Some(image)) => Runner::Held { image, container },
                (Some(container), None) => Runner::Container(container),
                (None, _) => Runner::Host(&host),
            };
            let finished = steps.finish(runner, progress);
            if let Some(conda) = conda {
                conda.stop();
            }
            finished
        })?;
        Ok(finished)
    }

    /// Warns that build steps see the user's home directory. Scripts start in the user's current
    /// directory and must see it, even if it is the home directory or contains it.
    fn warn_of_home(&self, shown: &[PathBuf]) {
        let build_env = &self.settings().build_env;
        let holds_home = |dir: &PathBuf| {
            build_env
                .home
                .as_ref()
                .is_some_and(|home| home.starts_with(dir))
        };
        if !build_env.has_own_home() && shown.iter().any(holds_home) {
            self.report().warning(
                "the build's steps see your home directory, since its scripts start there: start it in another one to keep it out",
            );
        }
    }

    /// Solves unless the packages are locked, fetches and links.
    ///
    /// # Errors
    /// Returns an error if the runtime cannot start, or if the packages cannot be solved, fetched
    /// or linked.
    pub(crate) fn install_packages(
        &self,
        environment: &Environment,
        mount_point: &MountPoint,
        way: Unpacked,
    ) -> anyhow::Result<Installed> {
        let Environment {
            spec,
            target,
            locked,
            ..
        } = environment;
        let report = self.report();
        let progress: &Report = report;
        report.debug(format!("solving for {target}"));
        let root = self.scratch().join("root");
        fs_err::create_dir(&root)?;
        // The suffix is known once the environment is solved; the probe wants a path of the same
        // form before.
        let probed = mount_point.provisional_path();
        Place::check(&probed, self.env_path)?;
        let probe_root = root.clone();
        std::thread::scope(|scope| {
            let (sender, mut probe) = tokio::sync::oneshot::channel();
            // The receiver may have met another error meanwhile.
            condense_threads::scoped(scope, || {
                drop(sender.send(self.prepared.probe(&probe_root, &probed)));
            })?;
            let runtime = condense_threads::network()?;
            let network = Network::open(self.network_settings())?;
            let mut base_env_vars = None;
            let (mut solution, archives) = runtime.block_on(async {
                let solve = async {
                    match locked {
                        Some(solution) => Ok(solution.clone()),
                        None => {
                            condense_prefix::solve(spec, target, &network, self.scratch(), progress)
                                .await
                        }
                    }
                };
                tokio::pin!(solve);
                // A runtime that cannot start ends the build while the channels are still being
                // read.
                let solution = loop {
                    tokio::select! {
                        biased;
                        found = &mut probe, if base_env_vars.is_none() => base_env_vars = Some(found??),
                        solution = &mut solve => break solution,
                    }
                };
                // And before anything comes over the network; archives that are here already are
                // only read.
                if base_env_vars.is_none() && solution.as_ref().map_or(true, Solution::needs_network) {
                    base_env_vars = Some((&mut probe).await??);
                }
                let solution = solution?;
                self.check_context().check_solution(&solution)?;
                report.info(format!(
                    "{} packages, {} to fetch",
                    solution.len(),
                    HumanBytes(solution.archive_bytes())
                ));
                let destination = self.destination;
                space::check_packages(&solution, &network, self.scratch(), destination)?;
                let archives = condense_prefix::fetch(&solution, &network, progress).await?;
                anyhow::Ok(condense_prefix::complete(spec, target, solution, archives, progress)?)
            })?;
            let mount_point =
                mount_point.path(|| condense_prefix::mount_point_suffix(spec, &solution));
            let place = self.place(root, mount_point);
            // pip runs on an image of everything, for which all blocks are read.
            let format = self.block_format.filter(|_| !environment.has_pip());
            let kept = report.kept_packages(format);
            let steps = match way {
                Unpacked::AsFiles => {
                    condense_prefix::install(spec, &mut solution, &archives, &place, progress)
                }
                Unpacked::AsNeeded => condense_prefix::install_held(
                    spec,
                    &mut solution,
                    &archives,
                    &place,
                    kept.as_ref().map(|kept| kept as &dyn KeptPackages),
                    progress,
                ),
            }?;
            if steps.kept_packages() > 0 {
                report.debug(format!(
                    "{} of {} packages were unpacked by earlier builds",
                    steps.kept_packages(),
                    solution.len()
                ));
            }
            let base_env_vars = match base_env_vars {
                Some(found) => found,
                None => probe.blocking_recv()??,
            };
            Ok(Installed {
                place,
                solution,
                steps,
                base_env_vars,
            })
        })
    }
}

/// Returns the files of a start, or `None` if it has read nothing: an empty list in the lock says
/// that there is no zone on purpose.
fn recorded(start: &StartFiles) -> Option<Vec<String>> {
    (!start.files.is_empty()).then(|| start.files.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_reads_nothing_is_not_recorded() {
        let mut start = StartFiles {
            failed: vec!["the time limit".to_owned()],
            ..StartFiles::default()
        };
        assert_eq!(recorded(&start), None);
        start.files.push("bin/python3.12".to_owned());
        assert_eq!(recorded(&start), Some(start.files.clone()));
    }
}
