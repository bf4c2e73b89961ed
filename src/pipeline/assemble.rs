//! Responsible for the image and for the generation that it becomes a part of, where nobody sees it yet.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::bail;
use condense_image::{Compression, Image, Mtime, PackOptions, ScanOptions, Tree};
use condense_installation::{
    Assembly, BaseMode, BaseRecord, Bind, Claim, FileRecord, HostView, ImageRecord, Launch,
    Launcher, Placement, Program, Receipt, Shell, Staged,
};
use condense_prefix::{BUILD_DIR, EnvironmentSpec};
use sha2::{Digest, Sha256};

use super::{Build, Made, container, launch, programs};
use crate::report::{Part, Refusal, Report};

/// Where scripts that must run at every start are sourced from, below the image's root.
const LAUNCHER: &str = ".condense-launcher";
/// 1980: the oldest time that ZIP files, and so Python's tools, can express; where nothing in the image is older or newer.
const OLDEST: u32 = 315_532_800;
/// Tykky's older name of `miniforge`, which scripts still use.
const OLDER_NAME: (&str, &str) = ("miniconda", "miniforge");

impl Build<'_> {
    /// Packs into a new file.
    pub(super) fn pack(
        &self,
        made: &Made,
        compression: Compression,
        path: &Path,
    ) -> anyhow::Result<(Image, Tree)> {
        let mtime = self
            .plan
            .source_date_epoch
            .or_else(|| made.solution.newest_timestamp())
            .unwrap_or(OLDEST);
        let options = ScanOptions {
            mtime: Mtime::Set(mtime),
            exclude: vec![BUILD_DIR.into()],
            ..ScanOptions::default()
        };
        let mut tree = Tree::scan(&made.place.root, &options)?;
        tree.set_mtime_of_additions(mtime);
        if made.place.environment.starts_with(OLDER_NAME.1) {
            tree.add_symlink(OLDER_NAME.0, OLDER_NAME.1)?;
        }
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

    /// The wrappers to be: the environment's own programs, those that the user names, and `list-packages`.
    fn programs(&self, made: &Made) -> anyhow::Result<Vec<Program>> {
        let place = &made.place;
        let mut found = programs::find_programs(place)?;
        if made.interpreter.is_some() {
            found.extend(programs::find_interpreters(place)?);
        }
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
        Ok(found
            .into_iter()
            .map(|(name, target)| Program { name, target })
            .collect())
    }

    /// Puts a generation together where nobody sees it.
    pub(super) fn stage(
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
            interpreter: made
                .interpreter
                .as_ref()
                .filter(|record| record.of == "host")
                .map(|record| (record.path.clone(), record.version.clone())),
            activation: if made.interpreter.is_some() {
                Vec::new()
            } else {
                launch::steps(&made.finished.activation, &place.mounted_env(), &env_name)
            },
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
        let programs = self.programs(made)?;
        let lock = condense_prefix::render_lock(
            &made.solution,
            spec,
            made.finished.pip_report.as_deref(),
            &made.finished.pip_packages,
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
            role: None,
        };
        let of_role = |role: &str, path: &Path, bytes: &[u8]| FileRecord {
            role: Some(role.to_owned()),
            ..record(path, bytes)
        };
        let folder = input.parent().unwrap_or(Path::new("")).to_owned();
        let kept = self.additions.kept(&folder, &input);
        let receipt = Receipt {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            created: self.plan.source_date_epoch.map_or_else(now, u64::from),
            mode: if made.interpreter.is_some() {
                "venv"
            } else {
                "conda"
            }
            .to_owned(),
            arguments: self
                .plan
                .command_line
                .iter()
                .map(|word| condense_prefix::without_secrets(word).into_owned())
                .collect(),
            inputs: std::iter::once(of_role("environment", &input, spec.text().as_bytes()))
                .chain(
                    kept.iter()
                        .map(|(role, path, bytes)| of_role(role, path, bytes)),
                )
                .collect(),
            lock: Some(record(Path::new("condense.lock"), &lock)),
            base: BaseRecord {
                reference: self.plan.base.reference().to_owned(),
                path: self.base.path().to_owned(),
                sha256: base_digest.map(str::to_owned),
                placement: Placement::default(),
            },
            image: Some(image_record(image)?),
            mount_point: place.mount_point.clone(),
            env_prefix: place.mounted_env(),
            env_name,
            interpreter: made.interpreter.clone(),
            host_view: self.view,
            generation: 0,
        };
        let mut share = vec![
            (input, spec.text().as_bytes().to_vec()),
            (PathBuf::from("condense.lock"), lock),
        ];
        share.extend(kept.into_iter().map(|(_, path, bytes)| (path, bytes)));
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
}

/// What `conda list` showed when the environment was built, for users who ask `list-packages`.
fn list_packages(made: &Made) -> String {
    format!(
        "#!/bin/sh\ncat <<'END OF PACKAGES'\n{}END OF PACKAGES\n",
        made.solution
            .listing(&made.finished.pip_packages, &made.finished.replaced_by_pip)
    )
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
