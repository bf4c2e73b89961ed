//! Responsible for the order of work of one build and for nothing staying behind; the only file that names all the
//! crates.

mod container;
mod launch;
mod lock;
mod programs;
mod pull;
mod scratch;
mod space;
mod target;
mod verify;
mod wrap;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use anyhow::{Context, bail};
use condense_base::{Base as BaseImage, BaseFacts};
use condense_image::{Compression, Image, Mtime, PackOptions, ScanOptions, Tree};
use condense_installation::{
    Assembly, BaseMode, BaseRecord, Bind, Claim, Destination, FileRecord, HostView, ImageRecord,
    Launch, Launcher, Mounting, Placement, Program, Receipt, Runtime, Shell, Staged, State,
};
use condense_prefix::{
    BUILD_DIR, BuildContainer, EnvironmentSpec, Finished, Kind, Network, NetworkSettings, Place,
    Prefix, Progress, Solution, Surroundings, Target,
};
use indicatif::{HumanBytes, HumanCount};
use sha2::{Digest, Sha256};

use crate::{
    interrupt::Interrupt,
    plan::{Base, Plan},
    report::{Part, Refusal, Report},
};
use container::Container;
pub(crate) use lock::lock;
pub(crate) use pull::Pull;
use scratch::Scratch;
pub(crate) use verify::verify;
pub(crate) use wrap::wrap;

/// Packages grow at least this much when they are unpacked.
const UNPACKED_PER_ARCHIVE: u64 = 2;
/// Where scripts that must run at every start are sourced from, below the image's root.
const LAUNCHER: &str = ".condense-launcher";
/// Tykky's older name of `miniforge`, which scripts still use.
const OLDER_NAME: (&str, &str) = ("miniconda", "miniforge");
/// Name of the image in a generation.
const IMAGE: &str = "img.sqfs";
/// Every kernel and every squashfuse reads this one.
const FALLBACK: Compression = Compression::Gzip { level: 6 };

/// What a build needs at every turn.
struct Build<'a> {
    plan: &'a Plan,
    report: &'a Arc<Report>,
    base: BaseImage,
    base_is_cached: bool,
    facts: BaseFacts,
    view: HostView,
    runtime: Option<Runtime>,
    scratch: Scratch,
}

/// A prefix whose steps have not run yet.
struct Installed {
    place: Place,
    solution: Solution,
    prefix: Prefix,
    base_environment: BTreeMap<String, String>,
}

/// What is mounted and known once the steps have run.
struct Made {
    place: Place,
    solution: Solution,
    finished: Finished,
    base_environment: BTreeMap<String, String>,
    /// Directories of the user's that the environment links to.
    linked_dirs: Vec<PathBuf>,
}

/// Builds the installation that `plan` describes; `search_path` is the user's PATH.
///
/// # Errors
/// Whatever stopped it; the destination is then as it was, and scratch is gone.
pub(crate) fn build(
    plan: &Plan,
    search_path: &OsStr,
    report: &Arc<Report>,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let destination = Destination::inspect(&plan.prefix_dir)?;
    refuse_active(&destination, search_path)?;
    let mount_point = match destination.state() {
        // A running job of the generation that is replaced must still find its image at its mount point.
        State::Ours {
            receipt: Some(receipt),
            ..
        } if plan.force => Some(receipt.mount_point.clone()),
        _ => None,
    };
    let absent = *destination.state() == State::Absent;
    let claim = destination.claim(plan.force)?;
    if absent {
        report.info(format!(
            "{} does not exist, creating it for you",
            plan.prefix_dir.display()
        ));
    }
    let mut spec = match &plan.lock {
        Some(lock) if lock.alone => None,
        _ => Some(load_spec(&plan.spec_path, &plan.surroundings)?),
    };
    if let (Some(condarc), Some(spec)) = (&plan.condarc, &mut spec) {
        condarc.apply(spec)?;
    }
    for warning in spec.iter().flat_map(EnvironmentSpec::warnings) {
        report.as_ref().warn(warning.clone());
    }
    let located = pull::locate(
        plan.base.reference(),
        &Pull {
            registries: plan.registries.clone(),
            platform: None,
            compression: Pull::COMPRESSION,
            scratch_parent: plan.scratch_parent.clone(),
            epoch: plan.source_date_epoch,
        },
        report,
    )?;
    let base = BaseImage::open(&located.path)?;
    base.check_architecture()?;
    let facts = base.facts()?;
    let base_digest = digest_meanwhile(&located.path);
    let view = view_of(&plan.base);
    let target = target::target(&facts, view, &plan.overrides, report)?;
    let lock = lock::load(plan.lock.as_ref(), spec.as_ref(), &target, report)?;
    let spec = match (spec, &lock) {
        (Some(spec), _) => spec,
        (None, Some(lock)) => lock.spec(),
        (None, None) => unreachable!("without an environment file there is a lock"),
    };
    let locked = lock.map(|lock| lock.solution().clone());
    let needs_pip = match &locked {
        Some(solution) => solution.needs_pip(&spec),
        None => !spec.pip().is_empty(),
    };
    let asks_network = match locked.as_ref().and_then(Solution::locked_pip_needs_network) {
        Some(needs) => needs,
        None => needs_pip && !plan.pip_without_index,
    };
    if plan.network.offline && asks_network {
        return Err(refused_offline().into());
    }
    let runtime = find_runtime(
        plan,
        &condense_prefix::pip_to_build(&spec, locked.as_ref()),
        search_path,
        report,
    )?;
    let scratch = Scratch::create(&plan.scratch_parent, plan.keep_scratch, report, interrupt)?;
    let build = Build {
        plan,
        report,
        base,
        base_is_cached: located.is_cached,
        facts,
        view,
        runtime,
        scratch,
    };

    let made = build.make_prefix(&spec, &target, locked, mount_point)?;
    // Beside the destination, so that no second copy of it is ever written.
    let (mut image, tree) = build.pack(&made, plan.compression, &claim.image_path())?;
    let base_digest = base_digest
        .join()
        .map_err(|_| anyhow::anyhow!("failed to take the digest of the base image"))??;

    report.begin(Part::Publish, None);
    let mut staged = build.stage(claim, &made, &spec, &image, base_digest.as_deref())?;
    if let Err(error) = build.check(&staged, &made, &mut image, &tree) {
        let Some(reason) = build.codec_refused(&staged, &made, &image) else {
            return Err(error);
        };
        report.warning(format!(
            "the runtime cannot mount an image compressed with {}, it becomes a gzip image: {reason}",
            image.compression
        ));
        drop(staged);
        let claim = Destination::inspect(&plan.prefix_dir)?.claim(plan.force)?;
        let (again, tree) = build.pack(&made, FALLBACK, &claim.image_path())?;
        image = again;
        staged = build.stage(claim, &made, &spec, &image, base_digest.as_deref())?;
        build.check(&staged, &made, &mut image, &tree)?;
    }
    build.refuse_interrupted()?;
    let installation = staged.publish()?;
    report.end(Part::Publish);

    let dir = installation.dir.display();
    report.info(format!(
        "{} files of {} became one of {} ({})",
        HumanCount(made_files(&image)),
        HumanBytes(image.bytes_in),
        HumanBytes(image.size_bytes),
        image.compression
    ));
    report.info(format!("Seconds: {}", report.timing()));
    report.info(format!(
        "Program has been installed to {dir}\nTo use add the bin folder to your path e.g:\nexport PATH=\"{dir}/bin:$PATH\""
    ));
    Ok(())
}

/// A file that only pip can read says nothing about Python itself.
fn load_spec(file: &Path, surroundings: &Surroundings) -> anyhow::Result<EnvironmentSpec> {
    let spec = EnvironmentSpec::load(file, surroundings)?;
    if spec.kind() == Kind::Requirements {
        let name = file.display();
        bail!(Refusal::new(
            format!("`{name}` is a requirements file for pip, not a list of conda packages"),
            format!(
                "write an environment.yml with `python` and `pip` under `dependencies:`, and `-r {name}` under `pip:`"
            ),
        ));
    }
    Ok(spec)
}

/// pip does not know that nothing may be sent.
fn refused_offline() -> Refusal {
    Refusal::new(
        "`--offline`: pip would ask its index for the pip requirements",
        "set PIP_NO_INDEX=1, and PIP_FIND_LINKS to a directory of wheels",
    )
}

fn made_files(image: &Image) -> u64 {
    image.summary.files + image.summary.symlinks
}

/// Replacing what the user's own commands come from would change them in the middle of this one.
fn refuse_active(destination: &Destination, search_path: &OsStr) -> anyhow::Result<()> {
    let bin = destination.dir().join("bin");
    if std::env::split_paths(search_path).any(|dir| dir == bin) && bin.exists() {
        bail!(Refusal::new(
            format!(
                "Remove {} from PATH: an installation cannot be replaced while it is in use",
                bin.display()
            ),
            "run the command again from a shell without it",
        ));
    }
    Ok(())
}

/// A named base is seen as it is, a site's under the host.
fn view_of(base: &Base) -> HostView {
    match base {
        Base::Named(_) => HostView::Base,
        Base::Site(_) => HostView::Host,
    }
}

/// A large base takes seconds to read; the network takes longer.
fn digest_meanwhile(reference: &str) -> JoinHandle<Result<Option<String>, condense_base::Error>> {
    let reference = reference.to_owned();
    std::thread::spawn(move || BaseImage::open(&reference)?.digest())
}

fn find_runtime(
    plan: &Plan,
    to_build: &[String],
    search_path: &OsStr,
    report: &Report,
) -> anyhow::Result<Option<Runtime>> {
    match Runtime::find(plan.runtime.as_deref(), search_path) {
        Ok(runtime) => Ok(Some(runtime)),
        Err(condense_installation::Error::NoRuntime) if to_build.is_empty() => {
            report.warning(
                "neither apptainer nor singularity is on PATH: the result cannot be started here",
            );
            Ok(None)
        }
        Err(condense_installation::Error::NoRuntime) => bail!(Refusal::new(
            format!(
                "pip must build `{}` in a container, and neither apptainer nor singularity is on PATH",
                to_build.join("`, `")
            ),
            "load the module of your container runtime, or ask for packages that have wheels",
        )),
        Err(error) => Err(error.into()),
    }
}

impl Build<'_> {
    /// Everything up to a finished prefix in scratch.
    fn make_prefix(
        &self,
        spec: &EnvironmentSpec,
        target: &Target,
        locked: Option<Solution>,
        mount_point: Option<PathBuf>,
    ) -> anyhow::Result<Made> {
        let Installed {
            place,
            solution,
            mut prefix,
            base_environment,
        } = self.install_packages(spec, target, locked, mount_point)?;
        let progress: &Report = self.report;
        // Every file has its name in the prefix by now; the unpacked trees go while the steps run.
        let packages = place.packages.clone();
        let removal = std::thread::spawn(move || scratch::remove_tree(&packages));
        let linked_dirs = if self.plan.keep_editable {
            prefix.keep_editable();
            prefix.editable_dirs()
        } else {
            Vec::new()
        };
        let container = self.container(&place, prefix.local_paths());
        if container.is_none() {
            let needs = prefix.needs_container();
            if !needs.is_empty() {
                bail!(Refusal::new(
                    format!(
                        "{} must run in a container, and neither apptainer nor singularity is on PATH",
                        needs.join(", ")
                    ),
                    "load the module of your container runtime",
                ));
            }
        }
        let finished = prefix.finish(
            container
                .as_ref()
                .map(|container| container as &dyn BuildContainer),
            progress,
        )?;
        for (script, reason) in &finished.activation.reasons {
            progress.info(format!("`{script}` is sourced at every start: {reason}"));
        }
        // A panic there has left a tree that goes with scratch.
        let _ = removal.join();
        self.refuse_interrupted()?;
        Ok(Made {
            place,
            solution,
            finished,
            base_environment,
            linked_dirs,
        })
    }

    /// Solves where no lock has, fetches and links.
    fn install_packages(
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
        // The suffix is known once the environment is solved; the probe wants a path of the same form before.
        let probed = mount_point
            .clone()
            .unwrap_or_else(|| format!("{}_0000000", plan.installation_path).into());
        Place::check(&probed, &plan.environment)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("failed to start the network's threads")?;
        let network = Network::open(NetworkSettings {
            cache_dir: self.cache_dir(),
            ..plan.network.clone()
        })?;
        let probe_root = root.clone();
        std::thread::scope(|scope| {
            let (sender, mut probe) = tokio::sync::oneshot::channel();
            // Whoever waits for it may have met another error meanwhile.
            scope.spawn(|| drop(sender.send(self.probe(&probe_root, &probed))));
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
                format!("{}_{}", plan.installation_path, solution.suffix(spec)).into()
            });
            let place = Place {
                root,
                mount_point,
                environment: plan.environment.clone(),
                packages: self.scratch.path().join("packages"),
            };
            let prefix =
                condense_prefix::install(spec, &mut solution, &archives, &place, progress)?;
            let base_environment = match base_environment {
                Some(found) => found,
                None => probe.blocking_recv()??,
            };
            Ok(Installed {
                place,
                solution,
                prefix,
                base_environment,
            })
        })
    }

    /// Where archives are kept: with the user, or in scratch where that cannot be written.
    fn cache_dir(&self) -> PathBuf {
        let dir = &self.plan.network.cache_dir;
        let tried = fs_err::create_dir_all(dir)
            .and_then(|()| tempfile::Builder::new().prefix(".cw-").tempfile_in(dir));
        let Err(error) = tried else {
            return dir.clone();
        };
        self.report.warning(format!(
            "the cache `{}` cannot be written ({error}): archives are kept for this build only; name another place with CONDENSE_CACHE_DIR",
            dir.display()
        ));
        self.scratch.path().join("cache")
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
                bytes: archives,
                what: "the image",
                hint: "make room there, or install somewhere else",
            },
        ])
    }

    fn container<'b>(&'b self, place: &'b Place, shown: Vec<PathBuf>) -> Option<Container<'b>> {
        Some(Container {
            shown,
            runtime: self.runtime.as_ref()?,
            base: self.base.path(),
            view: self.view,
            scratch_root: &place.root,
            mount_point: &place.mount_point,
            report: self.report,
        })
    }

    /// Starts the runtime exactly as the steps will need it, before anything is downloaded.
    fn probe(&self, root: &Path, mount_point: &Path) -> anyhow::Result<BTreeMap<String, String>> {
        let Some(runtime) = &self.runtime else {
            return Ok(BTreeMap::new());
        };
        let probe = Container {
            shown: Vec::new(),
            runtime,
            base: self.base.path(),
            view: self.view,
            scratch_root: root,
            mount_point,
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

    /// Packs into a new file.
    fn pack(
        &self,
        made: &Made,
        compression: Compression,
        path: &Path,
    ) -> anyhow::Result<(Image, Tree)> {
        let mtime = self
            .plan
            .source_date_epoch
            .or_else(|| made.solution.newest_timestamp())
            .unwrap_or(0);
        let options = ScanOptions {
            mtime: Mtime::Set(mtime),
            exclude: vec![BUILD_DIR.into()],
            ..ScanOptions::default()
        };
        let mut tree = Tree::scan(&made.place.root, &options)?;
        tree.set_mtime_of_additions(mtime);
        tree.add_symlink(OLDER_NAME.0, OLDER_NAME.1)?;
        let list = made.place.environment.join("bin/list-packages");
        // A package may bring a program of this name; Tykky's users mean this one. There may be none to take out.
        let _ = tree.remove(&list);
        tree.add_bytes(list, list_packages(made).into_bytes(), 0o755)?;
        if let Some(launcher) = self.launcher(made) {
            tree.add_bytes(LAUNCHER, launcher.render(), 0o755)?;
        }
        self.report.begin(Part::Pack, Some(tree.summary().bytes));
        let progress: Arc<dyn condense_image::Progress> = Arc::<Report>::clone(self.report);
        let options = PackOptions {
            compression,
            block_size: self.plan.block_size,
            progress: Some(progress),
            cancel: Some(self.report.cancel_flag()),
            ..PackOptions::default()
        };
        let image = condense_image::pack(&tree, path, &options)?;
        self.report.end(Part::Pack);
        Ok((image, tree))
    }

    /// Reads the staged image back while one of the staged wrappers runs: starting a container is mostly waiting.
    fn check(
        &self,
        staged: &Staged,
        made: &Made,
        image: &mut Image,
        tree: &Tree,
    ) -> anyhow::Result<()> {
        image.path = staged.generation_dir().join(IMAGE);
        let (read_back, started) = std::thread::scope(|scope| {
            let read_back = scope.spawn(|| condense_image::verify(image, tree, None));
            let started = self.start_once(staged, made);
            (read_back.join(), started)
        });
        read_back.map_err(|_| anyhow::anyhow!("failed to read the image back"))??;
        started
    }

    fn launcher(&self, made: &Made) -> Option<Launcher> {
        let scripts: Vec<PathBuf> = made
            .finished
            .activation
            .dynamic
            .iter()
            .map(PathBuf::from)
            .collect();
        let shell = if self.facts.has_bash {
            "/bin/bash"
        } else {
            "/bin/sh"
        };
        (!scripts.is_empty()).then(|| Launcher {
            scripts,
            shell: shell.into(),
        })
    }

    /// With the host's directories seen anyway, the site's would be shown twice.
    fn site_binds(&self) -> anyhow::Result<Vec<Bind>> {
        if self.view == HostView::Host {
            return Ok(Vec::new());
        }
        let binds = self.plan.binds.iter();
        Ok(binds
            .map(|(source, destination)| Bind::path(source, destination))
            .collect::<Result<_, _>>()?)
    }

    /// Puts a generation together where nobody sees it.
    fn stage(
        &self,
        claim: Claim,
        made: &Made,
        spec: &EnvironmentSpec,
        image: &Image,
        base_digest: Option<&str>,
    ) -> anyhow::Result<Staged> {
        let place = &made.place;
        let env_name = place
            .environment
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let launch = Launch {
            mount_point: place.mount_point.clone(),
            has_image: true,
            inside: place.mounted_env(),
            env_prefix: place.mounted_env(),
            runtime: self
                .runtime
                .as_ref()
                .map(|runtime| runtime.program().to_owned()),
            host_view: self.view,
            binds: [
                self.site_binds()?,
                container::binds_of(self.view, &made.linked_dirs)?,
            ]
            .concat(),
            flags: self.plan.runtime_flags.clone(),
            base_environment: made.base_environment.clone(),
            activation: launch::steps(&made.finished.activation, &place.mounted_env(), &env_name),
            launcher: self
                .launcher(made)
                .map(|_| place.mount_point.join(LAUNCHER)),
            extra_text: self.plan.extra_text.clone(),
            // Tykky's wrappers are bash, and so may be what its users write.
            shell: match self.plan.extra_text {
                Some(_) if Path::new("/bin/bash").exists() => Shell::Bash,
                _ => Shell::Sh,
            },
        };
        let mut found = programs::find_programs(place)?;
        for path in &self.plan.wrapper_paths {
            let below = path.strip_prefix(&place.mount_point).unwrap_or(path);
            let more = if below.is_absolute() {
                self.base.programs(below)?
            } else {
                programs::programs_below(place, below)?
            };
            if more.is_empty() {
                bail!(Refusal::new(
                    format!("there is no program at `{}`", path.display()),
                    "`-w` takes files and directories of programs: absolute in the container, or relative to the installation's root",
                ));
            }
            for (name, target) in more {
                if let Some((_, other)) = found.iter().find(|(known, _)| *known == name)
                    && *other != target
                {
                    bail!(
                        "Multiple binaries with the same name: `{}` and `{}`",
                        other.display(),
                        target.display()
                    );
                }
                found.push((name, target));
            }
        }
        found.push((
            "list-packages".into(),
            place.mounted_env().join("bin/list-packages"),
        ));
        found.sort();
        found.dedup_by(|one, other| one.0 == other.0);
        let programs: Vec<Program> = found
            .into_iter()
            .map(|(name, target)| Program { name, target })
            .collect();

        let lock = condense_prefix::render_lock(
            &made.solution,
            spec,
            made.finished.pip_report.as_deref(),
        )?
        .into_bytes();
        let input = PathBuf::from(format!("previous_input/{}", claim.generation())).join(
            self.plan
                .spec_path
                .file_name()
                .unwrap_or(OsStr::new("environment.yml")),
        );
        let record = |path: &Path, bytes: &[u8]| FileRecord {
            path: path.to_owned(),
            sha256: hex::encode(Sha256::digest(bytes)),
        };
        let receipt = Receipt {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            created: self.plan.source_date_epoch.map_or_else(now, u64::from),
            mode: "conda".to_owned(),
            arguments: self
                .plan
                .command_line
                .iter()
                .map(|word| condense_prefix::without_secrets(word).into_owned())
                .collect(),
            inputs: vec![record(&input, spec.text().as_bytes())],
            lock: Some(record(Path::new("condense.lock"), &lock)),
            base: BaseRecord {
                reference: self.plan.base.reference().to_owned(),
                path: self.base.path().to_owned(),
                sha256: base_digest.map(str::to_owned),
                placement: Placement::default(),
            },
            image: Some(image_record(image)),
            mount_point: place.mount_point.clone(),
            env_prefix: place.mounted_env(),
            env_name,
            host_view: self.view,
            generation: 0,
        };
        let mut share = vec![
            (input, spec.text().as_bytes().to_vec()),
            (PathBuf::from("condense.lock"), lock),
        ];
        if let Some(report) = &made.finished.pip_report {
            share.push((
                PathBuf::from("pip-report.json"),
                report.clone().into_bytes(),
            ));
        }
        let landmarks: Vec<(PathBuf, PathBuf)> = made
            .finished
            .landmarks
            .iter()
            .map(|path| (path.clone(), place.mounted_env().join(path)))
            .collect();
        let moving = self.base.is_moving_link();
        Ok(claim.stage(&Assembly {
            image: Some(&image.path),
            base: self.base.path(),
            base_mode: if self.plan.copy_base || moving {
                BaseMode::Copy
            } else if self.base_is_cached {
                BaseMode::Own
            } else {
                BaseMode::Link
            },
            launch: &launch,
            programs: &programs,
            landmarks: &landmarks,
            share: &share,
            receipt: &receipt,
        })?)
    }

    /// Runs one of the staged wrappers: every program must be there inside, and Python must start where there is one.
    fn start_once(&self, staged: &Staged, made: &Made) -> anyhow::Result<()> {
        if self.runtime.is_none() {
            return Ok(());
        }
        let dir = staged.generation_dir();
        let python = made.solution.python().is_some();
        let python = python.then(|| made.place.mounted_env().join("bin/python"));
        let targets = verify::link_targets(&dir.join("_bin"))?;
        let Some(said) = verify::start_once(&dir.join("bin"), python.as_deref(), &targets)? else {
            return Ok(());
        };
        self.refuse_interrupted()?;
        bail!("the finished installation does not start:\n{said}")
    }

    /// The runtime's reason, when it is the codec that it cannot mount.
    fn codec_refused(&self, staged: &Staged, made: &Made, image: &Image) -> Option<String> {
        let runtime = self.runtime.as_ref()?;
        if matches!(image.compression, Compression::Gzip { .. }) {
            return None;
        }
        let image = staged.generation_dir().join(IMAGE);
        match runtime.can_mount(self.base.path(), &image, &made.place.mount_point) {
            Ok(Mounting::Refused(reason)) => Some(reason),
            _ => None,
        }
    }

    fn refuse_interrupted(&self) -> anyhow::Result<()> {
        if self.report.cancelled() {
            return Err(condense_prefix::Error::Interrupted.into());
        }
        Ok(())
    }
}

/// What `conda list` showed when the environment was built, for users who ask `list-packages`.
fn list_packages(made: &Made) -> String {
    format!(
        "#!/bin/sh\ncat <<'END OF PACKAGES'\n{}END OF PACKAGES\n",
        made.solution.listing(&made.finished)
    )
}

fn image_record(image: &Image) -> ImageRecord {
    ImageRecord {
        size_bytes: image.size_bytes,
        sha256: hex::encode(image.sha256),
        compression: image.compression.to_string(),
        entries: u64::from(image.inodes),
    }
}

fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
