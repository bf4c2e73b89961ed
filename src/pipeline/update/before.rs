//! Responsible for what is known of the generation that is changed.

use std::path::{Path, PathBuf};

use anyhow::bail;
use condense_installation::{Claim, Receipt};
use condense_prefix::{
    EnvironmentSpec, HostPython, Interpreter, Lock, Surroundings, Target, Uv, Venv,
};

use super::{Additions, LOCK};
use crate::{plan::UpdatePlan, report::Refusal};

/// Kept inputs of all builds, below `share`.
const INPUTS: &str = "previous_input";

/// The generation that is visible.
pub(super) struct Before {
    pub(super) dir: PathBuf,
    pub(super) receipt: Receipt,
}

impl Before {
    /// Reads its receipt.
    ///
    /// # Errors
    /// Where there is none, or where it is of another kind.
    pub(super) fn load(claim: &Claim, plan: &UpdatePlan) -> anyhow::Result<Self> {
        let Some(dir) = claim.visible_dir() else {
            bail!("`{}` has no visible generation", claim.dir().display());
        };
        let receipt = Receipt::load(&dir)?;
        let shown = plan.dir.display();
        match (receipt.mode.as_str(), plan.venv) {
            ("conda", false) | ("venv", true) => Ok(Self { dir, receipt }),
            ("conda", true) => bail!(Refusal::new(
                format!("`{shown}` is a conda environment"),
                "use `conda-containerize update`",
            )),
            ("venv", false) => bail!(Refusal::new(
                format!("`{shown}` is a virtual environment"),
                "use `pip-containerize update`",
            )),
            (mode, _) => bail!(Refusal::new(
                format!(
                    "`{shown}` only wraps what is somewhere else (mode {mode}): there is nothing to update"
                ),
                "make it again with the same command and `--force`",
            )),
        }
    }

    /// Its base.
    pub(super) fn base_path(&self) -> PathBuf {
        self.dir.join("container.sif")
    }

    /// What is installed.
    ///
    /// # Errors
    /// Where it cannot be understood.
    pub(super) fn lock(&self, target: &Target) -> anyhow::Result<Option<Lock>> {
        let path = self.dir.join("share").join(LOCK);
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(Lock::of_installation(&path, target)?))
    }

    /// What was asked for: the environment file where it still says so without the files around it, else the lock.
    pub(super) fn spec(
        &self,
        lock: Option<&Lock>,
        additions: &Additions,
        surroundings: &Surroundings,
    ) -> EnvironmentSpec {
        let mut inputs = self.receipt.inputs.iter();
        let file = inputs.find(|input| input.role.as_deref() == Some("environment"));
        let loaded = file
            .filter(|_| self.receipt.mode == "conda")
            .map(|file| self.dir.join("share").join(&file.path))
            .and_then(|path| EnvironmentSpec::load(&path, surroundings).ok());
        let mut spec = loaded.or_else(|| lock.map(Lock::spec)).unwrap_or_default();
        for script in lock.map_or(&[][..], Lock::scripts) {
            spec.add_script(script);
        }
        additions.tell_apart(&mut spec);
        spec
    }

    /// The interpreter of a virtual environment, which must be what it was.
    ///
    /// # Errors
    /// One of the host's that has gone or is another one now.
    pub(super) fn venv(&self, additions: &Additions) -> anyhow::Result<Option<Venv>> {
        let Some(record) = &self.receipt.interpreter else {
            return Ok(None);
        };
        let interpreter = match record.of.as_str() {
            "host" => {
                let found = HostPython::find(Some(&record.path), "".as_ref())?;
                if minor(&found.version) != minor(&record.version) {
                    bail!(Refusal::new(
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
            "image" => Interpreter::Managed {
                version: Some(record.version.clone()),
                uv: additions.uv().cloned().unwrap_or(Uv::OfIndex),
            },
            _ => Interpreter::OfBase(record.path.to_string_lossy().into_owned()),
        };
        Ok(Some(Venv {
            interpreter,
            system_site_packages: false,
        }))
    }

    /// The inputs of all builds so far, for the next `share`.
    ///
    /// # Errors
    /// When they cannot be read.
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
                found.push((below, fs_err::read(&path)?));
            }
        }
        found.sort();
        Ok(found)
    }

    /// A file of its `share`, if it has it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read_share(&self, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let path = self.dir.join("share").join(name);
        Ok(if path.exists() {
            Some(fs_err::read(&path)?)
        } else {
            None
        })
    }

    /// Links beside `bin` that its interpreter needs, and where they lead.
    ///
    /// # Errors
    /// When they cannot be read.
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

/// `3.11` of `3.11.7`.
fn minor(version: &str) -> Vec<&str> {
    version.split('.').take(2).collect()
}
