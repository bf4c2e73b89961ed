//! Responsible for reading the generation that is changed: its receipt, or the files that Tykky has
//! written.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use condense_image::{Reader, Tree};
use condense_installation::{
    AliasedFile, BaseRecord, FileAlias, FileRole, HostView, InstallationMode, InterpreterOrigin,
    InterpreterRecord, Placement, RECEIPT_NAME, Receipt, Tykky, UpdateState,
};
use condense_prefix::{
    EnvironmentSpec, HostPython, Interpreter, Lock, PipPackage, SpecContext, Target, Uv, Venv,
};

use crate::{
    compression::ImageMount,
    generation::{IMAGE, LOCK, file_record},
    inputs::LoadedInputs,
    plan::{UpdatePlan, UpdatedKind},
    session::Session,
};
use condense_diagnostics::UserError;

/// Path below `share` of the kept inputs of all builds.
const INPUTS: &str = "previous_input";
/// Maximum size of a `pyvenv.cfg` in bytes.
const VENV_BYTES_MAX: u64 = 1 << 16;

/// The visible generation of an installation.
pub(super) struct PreviousGeneration {
    pub(super) dir: PathBuf,
    pub(super) receipt: Receipt,
    /// Contents of Tykky's files, if Tykky has made the installation.
    pub(super) tykky: Option<Tykky>,
    base: PathBuf,
    image: PathBuf,
}

impl PreviousGeneration {
    /// Reads the receipt of the generation. `visible_dir` is the directory of the generation.
    ///
    /// # Errors
    /// Returns an error if there is no receipt, or if the generation is of another kind than the
    /// command changes.
    pub(super) fn load(visible_dir: Option<PathBuf>, plan: &UpdatePlan) -> anyhow::Result<Self> {
        let Some(dir) = visible_dir else {
            bail!("`{}` has no visible generation", plan.dir.display());
        };
        let ours = dir.join("share").join(RECEIPT_NAME).exists();
        if ours {
            let receipt = Receipt::load(&dir)?;
            check_mode(
                &receipt.mode,
                plan,
                "make it again with the same command and `--force`",
            )?;
            return Ok(Self {
                base: dir.join("container.sif"),
                image: dir.join(IMAGE),
                tykky: None,
                dir,
                receipt,
            });
        }
        let found = Tykky::read(&dir)?;
        check_mode(
            &found.mode,
            plan,
            "make it again in another directory with the same command",
        )?;
        Ok(Self {
            receipt: receipt_of(&found, &dir)?,
            dir,
            base: found.container.clone(),
            image: found.image.clone().unwrap_or_default(),
            tykky: Some(found),
        })
    }

    /// Returns whether the generation is a virtual environment.
    pub(super) fn is_venv(&self) -> bool {
        self.receipt.mode == InstallationMode::Venv
    }

    /// Returns whether the runtime of this machine, if there is one, can mount the image. It may be
    /// from a machine with another runtime.
    ///
    /// # Errors
    /// Returns an error if the image cannot be read, or if the runtime fails for a reason that may
    /// pass.
    pub(super) fn is_mountable(&self, session: Session) -> anyhow::Result<bool> {
        let Some(runtime) = session.find_optional_runtime()? else {
            return Ok(true);
        };
        let runtime = runtime.with_flags(session.settings.rules.flags_of_every_start());
        let mount = ImageMount {
            runtime: &runtime,
            base: &self.base,
            image: &self.image,
            codec: Reader::open(&self.image)?.superblock().codec,
            mount_point: &self.receipt.mount_point,
        };
        Ok(mount.known_refusal(&session)?.is_none())
    }

    /// Returns the packages that pip has installed.
    pub(super) fn pip_packages(&self) -> Vec<PipPackage> {
        let known = self.receipt.update_state.pip_packages.iter();
        known.cloned().map(Into::into).collect()
    }

    /// Returns the path of the base.
    pub(super) fn base_path(&self) -> &Path {
        &self.base
    }

    /// Returns the path of the image.
    pub(super) fn image_path(&self) -> &Path {
        &self.image
    }

    /// Loads the lock of the installed packages, if there is one.
    ///
    /// # Errors
    /// Returns an error if the lock cannot be understood.
    pub(super) fn lock(&self, target: &Target) -> anyhow::Result<Option<Lock>> {
        let path = self.dir.join("share").join(LOCK);
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(Lock::from_installation(&path, target)?))
    }

    /// Returns the request of the build: that of the lock, or else its environment file if that can
    /// still be read without the files around it, or else the packages of the lock.
    pub(super) fn spec(
        &self,
        lock: Option<&Lock>,
        inputs: &LoadedInputs,
        spec_context: &SpecContext,
    ) -> EnvironmentSpec {
        // An update that changes conda packages adds a file with everything that is asked for then.
        let mut files = self.receipt.inputs.iter().rev();
        let file = files.find(|input| input.role == Some(FileRole::Environment));
        let in_lock = lock.filter(|lock| lock.has_request());
        let loaded = file
            .filter(|_| self.receipt.mode == InstallationMode::Conda && in_lock.is_none())
            .map(|file| self.dir.join("share").join(&file.path))
            .and_then(|path| EnvironmentSpec::load(&path, spec_context).ok());
        let mut spec = loaded.or_else(|| lock.map(Lock::spec)).unwrap_or_default();
        for script in lock.map_or(&[][..], Lock::scripts) {
            spec.add_script(script);
        }
        inputs.mix_into_digest(&mut spec);
        spec
    }

    /// Returns the virtual environment, if the generation is one. Its interpreter must be the same
    /// as before.
    ///
    /// # Errors
    /// Returns an error if the interpreter is the host's and has gone or changed.
    pub(super) fn venv(&self, inputs: &LoadedInputs) -> anyhow::Result<Option<Venv>> {
        let Some(record) = &self.receipt.interpreter else {
            return Ok(None);
        };
        let interpreter = match record.origin {
            InterpreterOrigin::Host => {
                let found = HostPython::find(Some(&record.path), "".as_ref())?;
                if minor(&found.version) != minor(&record.version) {
                    bail!(UserError::new(
                        format!(
                            "`{}` is Python {} now; the environment was made for {}",
                            record.path.display(),
                            found.version,
                            record.version
                        ),
                        "build it anew with `new --force`",
                    ));
                }
                Interpreter::Host(found)
            }
            InterpreterOrigin::Image => Interpreter::Managed {
                version: Some(record.version.clone()),
                uv: inputs.uv().cloned().unwrap_or(Uv::OfIndex),
            },
            InterpreterOrigin::Base => {
                Interpreter::OfBase(record.path.to_string_lossy().into_owned())
            }
        };
        Ok(Some(Venv {
            interpreter,
            system_site_packages: false,
        }))
    }

    /// Reads the inputs of all builds so far, for the next `share`.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read.
    pub(super) fn inputs(&self) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
        let (share, mut found) = (self.dir.join("share"), Vec::new());
        let mut pending = vec![PathBuf::from(INPUTS)];
        while let Some(below) = pending.pop() {
            let path = share.join(&below);
            if path.is_dir() {
                for entry in fs_err::read_dir(&path)? {
                    pending.push(below.join(entry?.file_name()));
                }
            } else if path.is_file() {
                found.push((
                    below,
                    condense_input::read(&path, condense_input::RECORD_MOST)?,
                ));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Reads a file of `share`, if it is there.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub(super) fn read_share(&self, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let path = self.dir.join("share").join(name);
        Ok(if path.exists() {
            Some(condense_input::read(&path, condense_input::RECORD_MOST)?)
        } else {
            None
        })
    }

    /// Returns the links beside `bin` that the interpreter needs, and their targets.
    ///
    /// # Errors
    /// Returns an error if a link cannot be read.
    pub(super) fn landmarks(&self) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
        let mut found = Vec::new();
        if let Ok(target) = fs_err::read_link(self.dir.join("pyvenv.cfg")) {
            found.push(("pyvenv.cfg".into(), target));
        }
        for name in ["lib", "lib64", "include"] {
            let dir = self.dir.join(name);
            if !dir.is_dir() {
                continue;
            }
            for entry in fs_err::read_dir(&dir)? {
                let entry = entry?;
                let target = fs_err::read_link(entry.path())?;
                found.push((Path::new(name).join(entry.file_name()), target));
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Refuses a generation that the command does not change. `again` is the hint for one that cannot
/// be changed at all.
fn check_mode(mode: &InstallationMode, plan: &UpdatePlan, again: &str) -> anyhow::Result<()> {
    let shown = plan.dir.display();
    match (mode, plan.kind) {
        (InstallationMode::Conda, UpdatedKind::Conda | UpdatedKind::Any)
        | (InstallationMode::Venv, UpdatedKind::Venv | UpdatedKind::Any) => Ok(()),
        (InstallationMode::Conda, UpdatedKind::Venv) => bail!(UserError::new(
            format!("`{shown}` is a conda environment"),
            "use `conda-containerize update`",
        )),
        (InstallationMode::Venv, UpdatedKind::Conda) => bail!(UserError::new(
            format!("`{shown}` is a virtual environment"),
            "use `pip-containerize update`",
        )),
        (mode, _) => bail!(UserError::new(
            format!(
                "`{shown}` only wraps what is somewhere else (mode {mode}): there is nothing to update"
            ),
            again,
        )),
    }
}

/// Converts the contents of Tykky's files into a receipt.
fn receipt_of(found: &Tykky, dir: &Path) -> anyhow::Result<Receipt> {
    let name = Path::new(&found.env_name);
    let mut interpreter = None;
    let mut environment = name.to_owned();
    if let Some(image) = &found.image {
        let reader = Arc::new(Reader::open(image)?);
        let layouts = ["miniforge/envs", "miniconda/envs", ""];
        let mut layouts = layouts.iter().map(|layout| Path::new(layout).join(name));
        let tree = Tree::from_image(&reader)?;
        let at = layouts.find(|path| tree.entry_at(path).is_some());
        environment = at.with_context(|| {
            format!(
                "there is no environment `{}` in `{}`",
                found.env_name,
                image.display()
            )
        })?;
        if found.mode == InstallationMode::Venv {
            let path = environment.join("pyvenv.cfg");
            let text = reader
                .resolve(&path)?
                .map(|node| reader.read(&node, VENV_BYTES_MAX))
                .transpose()?;
            interpreter = text.and_then(|text| interpreter_of(&text, found));
        }
    }
    let share = dir.join("share");
    let mut inputs = Vec::new();
    for path in &found.inputs {
        inputs.push(file_record(
            None,
            path,
            &condense_input::read(share.join(path), condense_input::RECORD_MOST)?,
        ));
    }
    let is_link = found.container.symlink_metadata()?.is_symlink();
    Ok(Receipt {
        tool_version: format!("tykky {}", found.version.as_deref().unwrap_or_default()),
        created: 0,
        mode: found.mode.clone(),
        arguments: Vec::new(),
        inputs,
        lock: None,
        base: BaseRecord {
            reference: found.base.clone(),
            path: fs_err::canonicalize(&found.container)?,
            sha256: None,
            placement: if is_link {
                Placement::Symlink
            } else {
                Placement::Copy
            },
            os_packages: Vec::new(),
        },
        image: None,
        mount_point: found.mount_point.clone(),
        env_prefix: found.mount_point.join(&environment),
        env_name: found.env_name.clone(),
        interpreter,
        host_view: found.host_view,
        update_state: UpdateState {
            wrapper_paths: found.wrapper_paths.clone(),
            uv: found.uv,
            file_aliases: file_aliases_of(found),
            ..UpdateState::default()
        },
        generation: 0,
    })
}

/// Returns the names that Tykky's site has given to the base and the image, with the usual ones.
fn file_aliases_of(found: &Tykky) -> Vec<FileAlias> {
    let files = [
        (Some(&found.container), AliasedFile::Base),
        (found.image.as_ref(), AliasedFile::Image),
    ];
    let files = files.into_iter().filter_map(|(path, file)| {
        let name = path?.file_name()?.to_str()?;
        (name != file.as_str()).then(|| FileAlias {
            name: name.to_owned(),
            file,
        })
    });
    files.collect()
}

/// Returns the interpreter that a `pyvenv.cfg` names.
fn interpreter_of(text: &[u8], found: &Tykky) -> Option<InterpreterRecord> {
    let text = String::from_utf8_lossy(text);
    let value = |wanted: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        let (_, value) = lines.find(|(name, _)| name.trim() == wanted)?;
        Some(value.trim().to_owned())
    };
    let home = PathBuf::from(value("home")?);
    let origin = if home.starts_with(&found.mount_point) {
        InterpreterOrigin::Image
    } else if found.host_view == HostView::Base {
        InterpreterOrigin::Base
    } else {
        InterpreterOrigin::Host
    };
    Some(InterpreterRecord {
        path: home.join("python3"),
        version: value("version").or_else(|| value("version_info"))?,
        origin,
    })
}

/// Returns the first two numbers of a version: `3.11` of `3.11.7`.
fn minor(version: &str) -> Vec<&str> {
    version.split('.').take(2).collect()
}
