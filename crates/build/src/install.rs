//! Responsible for everything up to a finished prefix in scratch: solved or locked, fetched,
//! linked, its steps run.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use condense_prefix::{
    BUILD_DIR, BuildSteps, CondaFacts, CondaSettings, EnvironmentSpec, Network, NetworkSettings,
    Place, Runner, Solution, Target,
};
use indicatif::HumanBytes;

use super::{
    Build, FinishedPrefix,
    conda::Conda,
    container::{Container, Mounted},
    host_runner::HostRunner,
    space,
};
use crate::report::Report;
use condense_diagnostics::UserError;

/// Packages grow at least this much when they are unpacked.
const UNPACKED_PER_ARCHIVE: u64 = 2;

/// A prefix whose steps have not run yet.
pub(super) struct Installed {
    pub(super) place: Place,
    pub(super) solution: Solution,
    pub(super) steps: BuildSteps,
    pub(super) base_environment: BTreeMap<String, String>,
}

impl Build<'_> {
    /// Everything up to a finished prefix in scratch.
    pub(super) fn make_prefix(
        &self,
        spec: &EnvironmentSpec,
        target: &Target,
        locked: Option<Solution>,
        mount_point: Option<PathBuf>,
    ) -> anyhow::Result<FinishedPrefix> {
        let installed = match &self.venv {
            Some(venv) => self.install_venv(venv, spec, target, mount_point)?,
            None => self.install_packages(spec, target, locked, mount_point)?,
        };
        self.finish_prefix(installed, spec, target)
    }

    /// Runs the steps of a prefix that has its packages.
    pub(super) fn finish_prefix(
        &self,
        installed: Installed,
        spec: &EnvironmentSpec,
        target: &Target,
    ) -> anyhow::Result<FinishedPrefix> {
        let Installed {
            place,
            mut solution,
            mut steps,
            base_environment,
        } = installed;
        let interpreter = self.interpreter_record(steps.prefix());
        if self.has_wrappers {
            steps.prefix().install_executable_hook()?;
        }
        let progress: &Report = self.report;
        // Every file has its name in the prefix by now; the unpacked trees go while the steps run.
        let packages = place.packages.clone();
        let removal =
            condense_threads::spawn(move || condense_publish::remove_tree(&packages)).ok();
        let mut linked_dirs = if self.plan.keep_editable {
            steps.keep_editable();
            steps.editable_dirs()
        } else {
            Vec::new()
        };
        linked_dirs.extend(self.interpreter_tree());
        self.inputs.apply(&mut steps);
        let shown = [
            steps.local_paths(),
            self.inputs.shown(),
            self.interpreter_tree(),
        ]
        .concat();
        self.say_whose_home(&shown);
        let container = self.container(&place, shown);
        if container.is_none() {
            let needs = steps.needs_container();
            if !needs.is_empty() {
                bail!(UserError::new(
                    format!(
                        "{} must run in a container, and neither apptainer nor singularity is on PATH",
                        needs.join(", ")
                    ),
                    "load the module of your container runtime",
                ));
            }
        }
        let conda = if self.inputs.has_scripts() && self.venv.is_none() {
            Some(Conda::open(self, target, &place, spec, solution.clone())?)
        } else {
            None
        };
        let finished = std::thread::scope(|scope| {
            if let Some(conda) = &conda {
                condense_threads::scoped(scope, || conda.serve())?;
            }
            let build_dir = place.build_dir();
            let here = HostRunner {
                build_dir: &build_dir,
                build_env: &self.plan.settings.build_env,
                checks: &self.plan.settings.checks,
                report: self.report,
            };
            let runner = match &container {
                Some(container) => Runner::Container(container),
                None => Runner::Host(&here),
            };
            let finished = steps.finish(runner, progress);
            if let Some(conda) = &conda {
                conda.stop();
            }
            finished
        })?;
        let mut asked = spec.clone();
        if let Some(conda) = conda {
            (solution, asked) = conda.into_result();
        }
        condense_prefix::stamp_bytecode(&place, self.mtime(&solution))?;
        let settings = CondaSettings::new(self.plan.settings.condarc.as_ref());
        CondaFacts {
            solution: &solution,
            spec: &asked,
            pip_packages: &finished.pip_packages,
            replaced_by_pip: &finished.replaced_by_pip,
            settings: &settings,
        }
        .write(&place)?;
        for (script, reason) in &finished.activation.reasons {
            progress.info(format!("`{script}` is sourced at every start: {reason}"));
        }
        // A removal that panics, or that gets no thread, leaves its tree in scratch. The tree is
        // removed together with scratch.
        drop(removal.map(std::thread::JoinHandle::join));
        self.refuse_interrupted()?;
        self.check_result(&place.root, &place.mount_point, &linked_dirs)?;
        Ok(FinishedPrefix {
            place,
            solution,
            asked,
            finished,
            base_environment,
            linked_dirs,
            interpreter,
        })
    }

    /// Warns that build steps see the user's home directory. Scripts start in the user's current
    /// directory and must see it, even if it is the home directory or contains it.
    fn say_whose_home(&self, shown: &[PathBuf]) {
        let build_env = &self.plan.settings.build_env;
        let holds_home = |dir: &PathBuf| {
            build_env
                .home
                .as_ref()
                .is_some_and(|home| home.starts_with(dir))
        };
        if !build_env.has_own_home() && shown.iter().any(holds_home) {
            self.report.warning(
                "the build's steps see your home directory, since its scripts start there: start it in another one to keep it out",
            );
        }
    }

    /// Solves where no lock has, fetches and links.
    pub(super) fn install_packages(
        &self,
        spec: &EnvironmentSpec,
        target: &Target,
        locked: Option<Solution>,
        mount_point: Option<PathBuf>,
    ) -> anyhow::Result<Installed> {
        let Self { plan, report, .. } = self;
        let progress: &Report = report;
        report.debug(format!("solving for {target}"));
        let root = self.scratch.path().join("root");
        fs_err::create_dir(&root)?;
        // The suffix is known once the environment is solved; the probe wants a path of the same
        // form before.
        let probed = mount_point
            .clone()
            .unwrap_or_else(|| format!("{}_0000000", plan.installation_path).into());
        Place::check(&probed, &plan.env_path)?;
        let runtime = condense_threads::network()?;
        let network = Network::open(self.network_settings())?;
        let probe_root = root.clone();
        std::thread::scope(|scope| {
            let (sender, mut probe) = tokio::sync::oneshot::channel();
            // Whoever waits for it may have met another error meanwhile.
            condense_threads::scoped(scope, || {
                drop(sender.send(self.probe(&probe_root, &probed)));
            })?;
            let mut base_environment = None;
            let (mut solution, archives) = runtime.block_on(async {
                let solve = async {
                    match locked {
                        Some(solution) => Ok(solution),
                        None => {
                            condense_prefix::solve(spec, target, &network, self.scratch.path(), progress)
                                .await
                        }
                    }
                };
                tokio::pin!(solve);
                // A runtime that cannot start ends the build while the channels are still being read.
                let solution = loop {
                    tokio::select! {
                        biased;
                        found = &mut probe, if base_environment.is_none() => base_environment = Some(found??),
                        solution = &mut solve => break solution,
                    }
                };
                // And before anything comes over the network; archives that are here already are only read.
                if base_environment.is_none() && solution.as_ref().map_or(true, Solution::needs_network) {
                    base_environment = Some((&mut probe).await??);
                }
                let solution = solution?;
                self.check_solution(&solution)?;
                report.info(format!(
                    "{} packages, {} to fetch",
                    solution.len(),
                    HumanBytes(solution.archive_bytes())
                ));
                self.check_space(&solution, &network)?;
                let archives = condense_prefix::fetch(&solution, &network, progress).await?;
                anyhow::Ok(condense_prefix::complete(spec, target, solution, archives, progress)?)
            })?;
            let mount_point = mount_point.unwrap_or_else(|| {
                format!(
                    "{}_{}",
                    plan.installation_path,
                    condense_prefix::mount_point_suffix(spec, &solution)
                )
                .into()
            });
            let place = Place {
                root,
                mount_point,
                environment: plan.env_path.clone(),
                packages: self.scratch.path().join("packages"),
            };
            let steps = condense_prefix::install(spec, &mut solution, &archives, &place, progress)?;
            let base_environment = match base_environment {
                Some(found) => found,
                None => probe.blocking_recv()??,
            };
            Ok(Installed {
                place,
                solution,
                steps,
                base_environment,
            })
        })
    }

    /// Returns the way to the channels, with a cache that can be trusted.
    pub(super) fn network_settings(&self) -> NetworkSettings {
        self.plan
            .settings
            .trusted_network(self.scratch.path(), self.report)
    }

    fn check_space(&self, solution: &Solution, network: &Network) -> anyhow::Result<()> {
        let archives = solution.archive_bytes();
        space::check(&[
            space::Need {
                dir: self.scratch.path(),
                bytes: archives.saturating_mul(UNPACKED_PER_ARCHIVE),
                what: "the unpacked packages",
                hint: "name another place with `--tmpdir DIR` or CW_BUILD_TMPDIR",
            },
            space::Need {
                dir: &network.settings().cache_dir,
                bytes: condense_prefix::missing_bytes(solution, network),
                what: "the packages' archives",
                hint: "name another place with CONDENSE_CACHE_DIR",
            },
            space::Need {
                dir: &self.plan.prefix_dir,
                bytes: archives + self.bytes_beside,
                what: "the image",
                hint: "make room there, or install somewhere else",
            },
        ])
    }

    pub(super) fn container<'b>(
        &'b self,
        place: &'b Place,
        shown: Vec<PathBuf>,
    ) -> Option<Container<'b>> {
        Some(Container {
            shown,
            runtime: self.runtime.as_ref()?,
            base: self.base.path(),
            view: self.view,
            mounted: Mounted::Directory(&place.root),
            mount_point: &place.mount_point,
            build_dir: place.build_dir(),
            build_env: &self.plan.settings.build_env,
            checks: Some(&self.plan.settings.checks),
            report: self.report,
        })
    }

    /// Starts the runtime exactly as the steps will need it, before anything is downloaded.
    pub(super) fn probe(
        &self,
        root: &Path,
        mount_point: &Path,
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let Some(runtime) = &self.runtime else {
            return Ok(BTreeMap::new());
        };
        let probe = Container {
            shown: Vec::new(),
            runtime,
            base: self.base.path(),
            view: self.view,
            mounted: Mounted::Directory(root),
            mount_point,
            build_dir: root.join(BUILD_DIR),
            build_env: &self.plan.settings.build_env,
            checks: None,
            report: self.report,
        };
        let variables = probe.probe().with_context(|| {
            format!(
                "cannot use `{}` with `{}`",
                self.base.path().display(),
                runtime.program().display()
            )
        })?;
        Ok(variables.into_iter().collect())
    }
}
