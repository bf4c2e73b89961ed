//! Responsible for the image and for the generation that it becomes a part of, where nobody sees it
//! yet.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::bail;
use condense_image::{Compression, Donor, Image, Mtime, PackOptions, ScanOptions, Tree};
use condense_installation::{
    Assembly, BaseRecord, Bind, Claim, FileRecord, FileRole, HostInterpreter, HostView,
    ImageRecord, InstallationMode, InterpreterOrigin, Launch, Launcher, Placement, Program,
    Receipt, Shell, Staged, UpdateState,
};
use condense_prefix::{BUILD_DIR, EnvironmentSpec, Place, Solution};
use sha2::{Digest, Sha256};

use super::{Build, FinishedPrefix, base_mode, container, inputs, launch, programs};
use crate::report::{Phase, Report};
use condense_catalogue::BaseView;
use condense_diagnostics::UserError;

/// Where scripts that must run at every start are sourced from, below the image's root.
const LAUNCHER: &str = ".condense-launcher";
/// 1980: the oldest time that ZIP files, and so Python's tools, can express; where nothing in the
/// image is older or newer.
const OLDEST: u32 = 315_532_800;
/// The lock in `share/`.
pub(super) const LOCK: &str = "condense.lock";
/// What pip has said of its part, in `share/`.
pub(super) const PIP_REPORT: &str = "pip-report.json";
/// Tykky's older name of `miniforge`, which scripts still use.
const OLDER_NAME: (&str, &str) = ("miniconda", "miniforge");

impl Build<'_> {
    /// Packs into a new file; what a donor has already is taken from it as it is.
    pub(super) fn pack(
        &self,
        made: &FinishedPrefix,
        options: PackOptions,
        path: &Path,
    ) -> anyhow::Result<(Image, Tree)> {
        let mtime = self.mtime(&made.solution);
        let scan = ScanOptions {
            mtime: Mtime::Set(mtime),
            exclude: vec![BUILD_DIR.into()],
            ..ScanOptions::default()
        };
        let mut tree = Tree::scan(&made.place.root, &scan)?;
        tree.set_mtime_of_additions(mtime);
        if made.place.environment.starts_with(OLDER_NAME.1) && tree.entry_at(OLDER_NAME.0).is_none()
        {
            tree.add_symlink(OLDER_NAME.0, OLDER_NAME.1)?;
        }
        let listing = made
            .solution
            .listing(&made.finished.pip_packages, &made.finished.replaced_by_pip);
        add_list_packages(&mut tree, &made.place.environment, &listing)?;
        tree.omit(LAUNCHER);
        if let Some(launcher) = self.launcher(made) {
            tree.add_bytes(LAUNCHER, launcher.render(), 0o755)?;
        }
        tree.keep_unchanged(&options)?;
        let image = self.pack_tree(&tree, path, options)?;
        Ok((image, tree))
    }

    pub(super) fn pack_tree(
        &self,
        tree: &Tree,
        path: &Path,
        options: PackOptions,
    ) -> anyhow::Result<Image> {
        self.report.begin(Phase::Pack, Some(tree.summary().bytes));
        let progress: Arc<dyn condense_image::Progress> = Arc::<Report>::clone(self.report);
        let options = PackOptions {
            progress: Some(progress),
            cancel: Some(self.report.cancel_flag()),
            ..options
        };
        let image = condense_image::pack(tree, path, &options)?;
        self.report.end(Phase::Pack);
        Ok(image)
    }

    /// On everything in the image.
    pub(super) fn mtime(&self, solution: &Solution) -> u32 {
        self.plan
            .source_date_epoch
            .or_else(|| solution.newest_timestamp())
            .unwrap_or(OLDEST)
    }

    fn launcher(&self, made: &FinishedPrefix) -> Option<Launcher> {
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

    /// The base, for choosing a site's rules.
    pub(super) fn known(&self) -> BaseView<'_> {
        BaseView {
            base: &self.base,
            facts: &self.facts,
        }
    }

    /// With the host's directories seen anyway, the site's would be shown twice.
    pub(super) fn site_binds(&self) -> anyhow::Result<Vec<Bind>> {
        if self.view == HostView::Host {
            return Ok(Vec::new());
        }
        self.plan.rules.binds_for(self.known())
    }

    /// The wrappers to be: the environment's own programs, those that the user names, and
    /// `list-packages`.
    pub(super) fn programs(
        &self,
        tree: &Tree,
        place: &Place,
        is_venv: bool,
    ) -> anyhow::Result<Vec<Program>> {
        let mount_point = &place.mount_point;
        let bin = place.environment.join("bin");
        let mut found = programs::programs_below(tree, mount_point, &bin);
        if is_venv {
            found.extend(programs::interpreters_in(tree, mount_point, &bin));
        }
        for path in &self.plan.wrapper_paths {
            let below = path.strip_prefix(mount_point).unwrap_or(path);
            let more = if below.is_absolute() {
                self.base.programs(below)?
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
        found.sort();
        found.dedup_by(|one, other| one.0 == other.0);
        Ok(found
            .into_iter()
            .map(|(name, target)| Program { name, target })
            .collect())
    }

    /// What the wrappers of a finished prefix have to know.
    pub(super) fn launch(&self, made: &FinishedPrefix) -> anyhow::Result<Launch> {
        let place = &made.place;
        let env_name = env_name(place);
        Ok(Launch {
            mount_point: place.mount_point.clone(),
            has_image: true,
            container_marker: place.mounted_env(),
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
            flags: self.plan.rules.flags_for(self.known())?,
            variables: self.plan.rules.variables_for(self.known())?,
            base_env_vars: made.base_environment.clone(),
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
            extra_text: self.plan.extra_text.clone(),
            hand_written: None,
            shell: shell_of(self.plan.extra_text.as_deref()),
        })
    }

    /// The command line, fit to be kept.
    pub(super) fn arguments(&self) -> Vec<String> {
        let words = self.plan.command_line.iter();
        words
            .map(|word| condense_prefix::without_secrets(word).into_owned())
            .collect()
    }

    /// What an update will go on from.
    pub(super) fn remembered(
        &self,
        made: &FinishedPrefix,
        launch: &Launch,
        image: &Image,
    ) -> UpdateState {
        let paths = self.plan.wrapper_paths.iter();
        UpdateState {
            launch: Some(Box::new(launch.clone())),
            wrapper_paths: paths.map(|path| path.display().to_string()).collect(),
            uv: self.plan.inputs.uv,
            no_cache: self.plan.inputs.no_cache,
            build_env: self.plan.settings.build_env.names.clone(),
            keep_editable: self.plan.keep_editable,
            file_aliases: self.plan.other_names.clone(),
            compression: Some(image.compression.to_string()),
            pip_packages: made
                .finished
                .pip_packages
                .iter()
                .cloned()
                .map(Into::into)
                .collect(),
            replaced_by_pip: made.finished.replaced_by_pip.clone(),
        }
    }

    /// Puts a generation together where nobody sees it.
    pub(super) fn stage(
        &self,
        claim: Claim,
        made: &FinishedPrefix,
        spec: &EnvironmentSpec,
        (image, tree): (&Image, &Tree),
        base_digest: Option<&str>,
    ) -> anyhow::Result<Staged> {
        let place = &made.place;
        let launch = self.launch(made)?;
        let programs = self.programs(tree, place, made.interpreter.is_some())?;
        let lock = condense_prefix::render_lock(
            &made.solution,
            spec,
            made.finished.pip_report.as_deref(),
            &made.finished.pip_packages,
        )?
        .into_bytes();
        let folder = PathBuf::from(format!("previous_input/{}", claim.generation()));
        let input = folder.join(inputs::name(&self.plan.spec_path));
        let kept = self.inputs.kept(&folder, &input);
        let receipt = Receipt {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            created: self.plan.source_date_epoch.map_or_else(now, u64::from),
            mode: if made.interpreter.is_some() {
                InstallationMode::Venv
            } else {
                InstallationMode::Conda
            },
            arguments: self.arguments(),
            inputs: std::iter::once(file_record(
                Some(FileRole::Environment),
                &input,
                spec.text().as_bytes(),
            ))
            .chain(
                kept.iter()
                    .map(|(role, path, bytes)| file_record(Some(*role), path, bytes)),
            )
            .collect(),
            lock: Some(file_record(None, Path::new(LOCK), &lock)),
            base: BaseRecord {
                reference: self.plan.base.reference().to_owned(),
                path: self.base.path().to_owned(),
                sha256: base_digest.map(str::to_owned),
                placement: Placement::default(),
            },
            image: Some(image_record(image)?),
            mount_point: place.mount_point.clone(),
            env_prefix: place.mounted_env(),
            env_name: env_name(place),
            interpreter: made.interpreter.clone(),
            host_view: self.view,
            update_state: self.remembered(made, &launch, image),
            generation: 0,
        };
        let mut share = vec![
            (input, spec.text().as_bytes().to_vec()),
            (PathBuf::from(LOCK), lock),
        ];
        share.extend(kept.into_iter().map(|(_, path, bytes)| (path, bytes)));
        if let Some(report) = &made.finished.pip_report {
            share.push((PathBuf::from(PIP_REPORT), report.clone().into_bytes()));
        }
        let landmarks = landmarks(made);
        let moving = self.base.is_moving_link();
        Ok(claim.stage(&Assembly {
            image: Some(&image.path),
            base: self.base.path(),
            base_mode: base_mode(self.plan.base_file, moving, self.base_is_cached),
            launch: &launch,
            programs: &programs,
            landmarks: &landmarks,
            share: &share,
            receipt: &receipt,
        })?)
    }
}

/// Where the interpreter looks for what is its own beside `bin`.
pub(super) fn landmarks(made: &FinishedPrefix) -> Vec<(PathBuf, PathBuf)> {
    let paths = made.finished.landmarks.iter();
    paths
        .map(|path| (path.clone(), made.place.mounted_env().join(path)))
        .collect()
}

/// Tykky's wrappers are bash, and so may be what its users write.
pub(super) fn shell_of(extra_text: Option<&str>) -> Shell {
    match extra_text {
        Some(_) if Path::new("/bin/bash").exists() => Shell::Bash,
        _ => Shell::Sh,
    }
}

/// Its directory's name: `env1` for Tykky's users.
fn env_name(place: &Place) -> String {
    let name = place.environment.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// A file in `share/`, as the receipt names it.
pub(super) fn file_record(role: Option<FileRole>, path: &Path, bytes: &[u8]) -> FileRecord {
    FileRecord {
        path: path.to_owned(),
        sha256: hex::encode(Sha256::digest(bytes)),
        role,
    }
}

/// With the donor's codec, and the level that is asked for where it is one of that codec's.
pub(super) fn repack_options(donor: Donor, asked: Option<Compression>) -> PackOptions {
    let bound = donor.compression();
    let asked = asked.filter(|asked| asked.codec() == bound.codec());
    PackOptions {
        compression: asked.unwrap_or(bound),
        ..PackOptions::repack(donor)
    }
}

/// What `conda list` showed when the environment was built, for users who ask `list-packages`. A
/// package may bring a program of this name; Tykky's users mean this one.
pub(super) fn add_list_packages(
    tree: &mut Tree,
    environment: &Path,
    listing: &str,
) -> anyhow::Result<()> {
    let path = environment.join("bin/list-packages");
    tree.omit(&path);
    let text = format!("#!/bin/sh\ncat <<'END OF PACKAGES'\n{listing}END OF PACKAGES\n");
    Ok(tree.add_bytes(path, text.into_bytes(), 0o755)?)
}

pub(super) fn image_record(image: &Image) -> Result<ImageRecord, condense_image::Error> {
    Ok(ImageRecord {
        size_bytes: image.size_bytes,
        sha256: hex::encode(image.sha256()?),
        compression: image.compression.to_string(),
        entries: u64::from(image.inodes),
    })
}

pub(super) fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
