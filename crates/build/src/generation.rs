//! Responsible for the generation of a new environment: its wrappers, its receipt and its records,
//! put together where no other process sees them yet.

use std::path::{Path, PathBuf};

use anyhow::bail;
use condense_check::MpiUse;
use condense_diagnostics::UserError;
use condense_image::{Image, Tree};
use condense_installation::{
    Assembly, BaseRecord, Claim, FileRecord, FileRole, HostInterpreter, HostMpi, HostView,
    ImageRecord, InstallationMode, InterpreterOrigin, Launch, Launcher, Placement, Program,
    Receipt, Shell, Staged, UpdateState,
};
use condense_prefix::{EnvironmentSpec, ImageKind, LockContents, PipPackage, Place, Recipe};
use sha2::{Digest, Sha256};

use crate::{
    build::Build,
    container, host_mpi, inputs, launch, os_packages,
    pack::{LAUNCHER, Packed, RUN_SCRIPTS, hot_parts},
    plan::{Generation, InstallationPlan},
    prefix::FinishedPrefix,
    programs, recipe,
};

/// Name of the image in a generation.
pub(crate) const IMAGE: &str = "img.sqfs";
/// Name of the lock in `share/`.
pub(crate) const LOCK: &str = "condense.lock";
/// Name of pip's report in `share/`.
pub(crate) const PIP_REPORT: &str = "pip-report.json";

impl Build<'_> {
    /// Returns the program that sources scripts at every start, if there are such scripts.
    pub(crate) fn launcher(&self, made: &FinishedPrefix) -> Option<Launcher> {
        let scripts: Vec<PathBuf> = made
            .finished
            .activation
            .dynamic
            .iter()
            .map(PathBuf::from)
            .collect();
        (!scripts.is_empty()).then(|| Launcher {
            scripts,
            shell: self.prepared.base.shell().into(),
        })
    }

    /// Returns the programs that get a wrapper: the environment's own, those at `further` paths,
    /// `list-packages`, and the run scripts if there is a Python.
    ///
    /// # Errors
    /// Returns an error if there is no program at a path, or if two programs have one name.
    pub(crate) fn programs(
        &self,
        tree: &Tree,
        place: &Place,
        is_venv: bool,
        further: &[PathBuf],
    ) -> anyhow::Result<Vec<Program>> {
        let mount_point = &place.mount_point;
        let bin = place.environment.join("bin");
        let mut found = programs::programs_below(tree, mount_point, &bin);
        if is_venv {
            found.extend(programs::interpreters_in(tree, mount_point, &bin));
        }
        for path in further {
            let below = path.strip_prefix(mount_point).unwrap_or(path);
            let more = if below.is_absolute() {
                self.prepared.base.image.programs(below)?
            } else {
                programs::programs_below(tree, mount_point, below)
            };
            if more.is_empty() {
                bail!(UserError::new(
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
        if found
            .iter()
            .any(|(name, _)| name == "python" || name == "python3")
        {
            // A program of the environment keeps its name.
            for (name, target) in
                programs::programs_below(tree, mount_point, Path::new(RUN_SCRIPTS))
            {
                if !found.iter().any(|(known, _)| *known == name) {
                    found.push((name, target));
                }
            }
        }
        found.sort();
        found.dedup_by(|one, other| one.0 == other.0);
        Ok(found
            .into_iter()
            .map(|(name, target)| Program { name, target })
            .collect())
    }

    /// Returns the settings of the wrappers of a finished prefix.
    ///
    /// # Errors
    /// Returns an error if a rule of the site has no meaning for the base.
    pub(crate) fn launch(
        &self,
        made: &FinishedPrefix,
        extra_text: Option<&str>,
    ) -> anyhow::Result<Launch> {
        let place = &made.place;
        let (base, rules) = (&self.prepared.base, &self.settings().rules);
        let env_name = env_name(place);
        Ok(Launch {
            mount_point: place.mount_point.clone(),
            has_image: true,
            container_marker: place.mounted_env(),
            env_prefix: place.mounted_env(),
            runtime: self
                .prepared
                .runtime
                .as_ref()
                .map(|runtime| runtime.program().to_owned()),
            host_view: base.view,
            binds: [
                base.site_binds(self.settings())?,
                container::binds_of(base.view, &made.linked_dirs)?,
            ]
            .concat(),
            flags: rules.flags_for(base.known())?,
            variables: rules.variables_for(base.known())?,
            base_env_vars: made.base_env_vars.clone(),
            interpreter: made
                .interpreter
                .as_ref()
                .filter(|record| record.origin == InterpreterOrigin::Host)
                .map(|record| HostInterpreter {
                    path: record.path.clone(),
                    version: record.version.clone(),
                }),
            activation: if made.interpreter.is_some() {
                Vec::new()
            } else {
                launch::steps(&made.finished.activation, &place.mounted_env(), &env_name)
            },
            launcher: self
                .launcher(made)
                .map(|_| place.mount_point.join(LAUNCHER)),
            extra_text: extra_text.map(str::to_owned),
            hand_written: None,
            no_user_site: rules.no_user_site,
            host_mpi: self.host_mpi(made.mpi.as_ref())?,
            hot_parts: Vec::new(),
            shell: shell_of(extra_text),
        })
    }

    /// Returns the settings of the host's MPI for an image with these MPI libraries.
    ///
    /// # Errors
    /// Returns an error if the user wants the host's MPI and it cannot take the place of the
    /// image's.
    pub(crate) fn host_mpi(&self, found: Option<&MpiUse>) -> anyhow::Result<Option<HostMpi>> {
        let base = &self.prepared.base;
        let facts = (base.view == HostView::Base).then_some(&base.facts);
        let rules = &self.settings().rules.mpi;
        host_mpi::settings(found, facts, rules, self.report())
    }

    /// Returns the part of the receipt from which an update goes on.
    fn update_state(
        &self,
        made: &FinishedPrefix,
        generation: &Generation,
        launch: &Launch,
        image: &Image,
    ) -> UpdateState {
        UpdateState {
            launch: Some(Box::new(launch.clone())),
            wrapper_paths: generation.shown_wrapper_paths(),
            uv: self.inputs.uv().is_some(),
            no_cache: self.inputs.without_cache(),
            build_env: self.settings().build_env.names.clone(),
            keep_editable: self.inputs.keeps_editable(),
            file_aliases: generation.other_names.clone(),
            compression: Some(image.compression.to_string()),
            pip_packages: recorded(&made.finished.pip_packages),
            replaced_by_pip: made.finished.replaced_by_pip.clone(),
        }
    }
}

/// The first generation of a new environment, before it is put together.
pub(crate) struct NewGeneration<'a> {
    pub(crate) build: &'a Build<'a>,
    pub(crate) plan: &'a InstallationPlan,
    pub(crate) made: &'a FinishedPrefix,
    pub(crate) spec: &'a EnvironmentSpec,
    /// SHA-256 digest of the base.
    pub(crate) base_digest: Option<&'a str>,
}

/// Files of `share/`, and their records.
struct Share {
    files: Vec<(PathBuf, Vec<u8>)>,
    inputs: Vec<FileRecord>,
    lock: FileRecord,
}

impl NewGeneration<'_> {
    /// Puts the generation together where no other process sees it.
    ///
    /// # Errors
    /// Returns an error if a program or a rule has no meaning, or if a file cannot be written.
    pub(crate) fn stage(&self, claim: Claim, packed: &Packed) -> anyhow::Result<Staged> {
        let (build, made) = (self.build, self.made);
        let (output, base) = (&self.plan.output, &build.prepared.base);
        let generation = &output.generation;
        let launch = Launch {
            hot_parts: hot_parts(&packed.image),
            ..build.launch(made, generation.extra_text.as_deref())?
        };
        let programs = build.programs(
            &packed.tree,
            &made.place,
            made.interpreter.is_some(),
            &generation.wrapper_paths,
        )?;
        let folder = PathBuf::from(format!("previous_input/{}", claim.generation()));
        let Share {
            files,
            inputs,
            lock,
        } = self.share(&folder, &packed.image)?;
        let update_state = build.update_state(made, generation, &launch, &packed.image);
        let receipt = Receipt {
            inputs,
            lock: Some(lock),
            update_state,
            ..self.receipt(&packed.image)
        };
        Ok(claim.stage(&Assembly {
            image: Some(&packed.image.path),
            base: base.path(),
            base_mode: base.mode(output.base_file),
            launch: &launch,
            programs: &programs,
            landmarks: &landmarks(made),
            share: &files,
            receipt: &receipt,
        })?)
    }

    /// Returns the environment file, the lock and all other inputs.
    fn share(&self, folder: &Path, image: &Image) -> anyhow::Result<Share> {
        let finished = &self.made.finished;
        let contents = LockContents {
            solution: &self.made.solution,
            spec: &self.made.asked,
            pip_report: finished.pip_report.as_deref(),
            installed: &finished.pip_packages,
            conda: &self.build.conda_settings,
            recipe: Some(&self.recipe(image)),
        };
        let lock = contents.render()?.into_bytes();
        let lock_record = file_record(None, Path::new(LOCK), &lock);
        let input = folder.join(inputs::name(self.plan.input.packages.source()));
        let text = self.spec.text().as_bytes().to_vec();
        let mut records = vec![file_record(Some(FileRole::Environment), &input, &text)];
        let kept = self.build.inputs.kept(folder, &input);
        let mut files = vec![(input, text), (PathBuf::from(LOCK), lock)];
        for (role, path, bytes) in kept {
            records.push(file_record(Some(role), &path, &bytes));
            files.push((path, bytes));
        }
        if let Some(report) = &finished.pip_report {
            files.push((PathBuf::from(PIP_REPORT), report.clone().into_bytes()));
        }
        Ok(Share {
            files,
            inputs: records,
            lock: lock_record,
        })
    }

    /// Returns the properties of the image, with which a build from the lock makes its bytes again.
    fn recipe(&self, image: &Image) -> Recipe {
        let place = &self.made.place;
        Recipe {
            kind: ImageKind::Installation,
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            mount_point: place.mount_point.clone(),
            environment: place.environment.clone(),
            compression: Some(image.compression.to_string()),
            block_size: Some(self.plan.output.generation.block_size.bytes()),
            time: self.build.source_date_epoch,
            base: recipe::base_name(self.plan.base.reference()),
            base_digest: self.base_digest.map(str::to_owned),
            site: None,
            no_user_site: false,
            hot_files: self.made.hot_files.clone(),
            updated: false,
            os_packages: os_packages::records(&self.build.prepared.base.os_packages),
        }
    }

    fn receipt(&self, image: &Image) -> Receipt {
        let (made, place) = (self.made, &self.made.place);
        let generation = &self.plan.output.generation;
        let base = &self.build.prepared.base;
        Receipt {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            created: generation.created(),
            mode: if made.interpreter.is_some() {
                InstallationMode::Venv
            } else {
                InstallationMode::Conda
            },
            arguments: generation.arguments(),
            inputs: Vec::new(),
            lock: None,
            base: BaseRecord {
                reference: self.plan.base.reference().to_owned(),
                path: base.recorded_path().to_owned(),
                sha256: self.base_digest.map(str::to_owned),
                placement: Placement::default(),
                os_packages: os_packages::records(&base.os_packages),
            },
            image: Some(image_record(image)),
            mount_point: place.mount_point.clone(),
            env_prefix: place.mounted_env(),
            env_name: env_name(place),
            interpreter: made.interpreter.clone(),
            host_view: base.view,
            update_state: UpdateState::default(),
            generation: 0,
        }
    }
}

impl Generation {
    /// Returns the command line without its secrets.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let words = self.command_line.iter();
        words
            .map(|word| condense_prefix::without_secrets(word).into_owned())
            .collect()
    }

    /// Returns the time of the receipt, in seconds since 1970.
    pub(crate) fn created(&self) -> u64 {
        self.source_date_epoch.map_or_else(now, u64::from)
    }

    /// Returns the paths of further programs as text.
    pub(crate) fn shown_wrapper_paths(&self) -> Vec<String> {
        let paths = self.wrapper_paths.iter();
        paths.map(|path| path.display().to_string()).collect()
    }
}

/// Returns the files beside `bin` by which the interpreter finds its prefix, with their paths in
/// the container.
pub(crate) fn landmarks(made: &FinishedPrefix) -> Vec<(PathBuf, PathBuf)> {
    let paths = made.finished.landmarks.iter();
    paths
        .map(|path| (path.clone(), made.place.mounted_env().join(path)))
        .collect()
}

/// Returns the shell of the wrappers. Tykky's wrappers are bash, and so its users may write bash.
pub(crate) fn shell_of(extra_text: Option<&str>) -> Shell {
    match extra_text {
        Some(_) if Path::new("/bin/bash").exists() => Shell::Bash,
        _ => Shell::Sh,
    }
}

/// Returns the name of the environment's directory: `env1` for Tykky's users.
fn env_name(place: &Place) -> String {
    let name = place.environment.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Returns packages as receipts record them.
pub(crate) fn recorded(packages: &[PipPackage]) -> Vec<(String, String)> {
    packages.iter().cloned().map(Into::into).collect()
}

/// Returns the record of a file in `share/`.
pub(crate) fn file_record(role: Option<FileRole>, path: &Path, bytes: &[u8]) -> FileRecord {
    FileRecord {
        path: path.to_owned(),
        sha256: hex::encode(Sha256::digest(bytes)),
        role,
    }
}

/// Returns the record of an image. Its digest is still empty: it is computed while the generation
/// is staged and started.
pub(crate) fn image_record(image: &Image) -> ImageRecord {
    ImageRecord {
        size_bytes: image.size_bytes,
        sha256: String::new(),
        compression: image.compression.to_string(),
        entries: u64::from(image.inodes),
    }
}

fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
