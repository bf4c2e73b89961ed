//! Responsible for the inputs of a build besides its environment file: a requirements file, scripts
//! and uv; and for keeping them with the result.

use std::path::{Path, PathBuf};

use anyhow::bail;
use condense_diagnostics::UserError;
use condense_installation::FileRole;
use condense_prefix::{BuildSteps, EnvironmentSpec, Lock, Scripts, Solution, UserScript, Uv};
use sha2::{Digest, Sha256};

use crate::{
    plan::{ExtraInputs, GivenText, INLINE, PackageSettings, WarmStart},
    report::Report,
};

/// Name of the kept file with the requirements of the command line.
const INLINE_NAME: &str = "requirements-of-command-line.txt";

/// Inputs besides the environment file, with their files read.
#[derive(Debug, Default)]
pub(super) struct LoadedInputs {
    requirements: Option<EnvironmentSpec>,
    scripts: Scripts,
    uv: Option<Uv>,
    no_cache: bool,
    keep_editable: bool,
    warm: WarmStart,
    /// Files that are kept with the result: role, name and text.
    kept: Vec<(FileRole, String, String)>,
}

/// Names of the result, for the variables that scripts see.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScriptTarget<'a> {
    /// Installation or file that is made.
    pub(super) destination: &'a Path,
    /// Path of the environment below the mount point.
    pub(super) env_path: &'a Path,
}

impl LoadedInputs {
    /// Reads all files.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read, or if pip could not read the requirements.
    pub(super) fn load(
        wanted: &ExtraInputs,
        settings: &PackageSettings,
        target: ScriptTarget,
    ) -> anyhow::Result<Self> {
        let mut kept = Vec::new();
        let mut requirements = match &wanted.requirements {
            None => None,
            Some(path) => {
                let requirements =
                    EnvironmentSpec::load_requirements(path, &settings.spec_context)?;
                kept.push((
                    FileRole::Requirements,
                    name(path),
                    requirements.text().into_owned(),
                ));
                Some(requirements)
            }
        };
        if let Some(inline) = inline_requirements(wanted, settings)? {
            kept.push((
                FileRole::Requirements,
                INLINE_NAME.to_owned(),
                inline.text().into_owned(),
            ));
            match &mut requirements {
                Some(requirements) => requirements.add_requirements(&inline),
                None => requirements = Some(inline),
            }
        }
        let mut script = |role, given: &Option<GivenText>| {
            let GivenText { path, text } = given.as_ref()?;
            let kept_text = condense_prefix::without_secrets(text).into_owned();
            kept.push((role, name(path), kept_text));
            Some(UserScript {
                name: name(path),
                text: text.clone(),
            })
        };
        let scripts = Scripts {
            pre_install: script(FileRole::PreInstall, &wanted.pre_install),
            post_install: script(FileRole::PostInstall, &wanted.post_install),
            work_dir: wanted.work_dir.clone(),
            variables: target.variables(),
        };
        if let Some(GivenText { path, text }) = &wanted.environ {
            kept.push((FileRole::Environ, name(path), text.clone()));
        }
        Ok(Self {
            requirements,
            scripts,
            uv: wanted
                .uv
                .then(|| wanted.uv_program.clone().map_or(Uv::OfIndex, Uv::Program)),
            no_cache: wanted.no_cache,
            keep_editable: wanted.keep_editable,
            warm: wanted.warm.clone(),
            kept,
        })
    }

    /// Makes a script of commands, in place of a script in a file.
    pub(super) fn add_commands(&mut self, commands: &[String]) {
        if commands.is_empty() {
            return;
        }
        let mut text = commands.join("\n");
        text.push('\n');
        let kept = condense_prefix::without_secrets(&text).into_owned();
        self.kept
            .push((FileRole::PostInstall, "post.sh".to_owned(), kept));
        self.scripts.post_install = Some(UserScript {
            name: "--post".to_owned(),
            text,
        });
    }

    /// Adds the requirements to what the environment file asks for.
    pub(super) fn require(&self, spec: &mut EnvironmentSpec) {
        if let Some(requirements) = &self.requirements {
            spec.add_requirements(requirements);
        }
    }

    /// Returns the requirements file. It is empty if there is none.
    pub(super) fn requirements(&self) -> EnvironmentSpec {
        self.requirements.clone().unwrap_or_default()
    }

    /// Returns whether pip and uv use no cache.
    pub(super) fn without_cache(&self) -> bool {
        self.no_cache
    }

    /// Returns whether editable requirements stay links to the user's directories.
    pub(super) fn keeps_editable(&self) -> bool {
        self.keep_editable
    }

    /// Returns the start by which the build finds out what a start reads.
    pub(super) fn warm(&self) -> &WarmStart {
        &self.warm
    }

    /// Returns the source of uv, if uv installs in place of pip.
    pub(super) fn uv(&self) -> Option<&Uv> {
        self.uv.as_ref()
    }

    /// Returns the names of all scripts.
    pub(super) fn script_names(&self) -> Vec<&str> {
        let scripts = [&self.scripts.pre_install, &self.scripts.post_install];
        let scripts = scripts.into_iter().flatten();
        scripts.map(|script| script.name.as_str()).collect()
    }

    /// Returns the lines of the requirements file. They may hold credentials.
    pub(super) fn pip_lines(&self) -> &[String] {
        self.requirements.as_ref().map_or(&[], EnvironmentSpec::pip)
    }

    /// Returns the parts of a step list for the scripts before and after pip.
    pub(super) fn script_steps(&self) -> [Option<String>; 2] {
        let scripts = [&self.scripts.pre_install, &self.scripts.post_install];
        scripts.map(|script| Some(format!("run `{}`", script.as_ref()?.name)))
    }

    /// Returns the files and directories of this machine that pip reads.
    pub(super) fn local_paths(&self) -> Vec<PathBuf> {
        let requirements = self.requirements.as_ref();
        requirements.map_or(Vec::new(), |found| found.local_paths().to_vec())
    }

    /// Adds the scripts and uv to the identity of an environment: with other scripts, the same
    /// packages make another environment.
    pub(super) fn mix_into_digest(&self, spec: &mut EnvironmentSpec) {
        for script in self.script_digests() {
            spec.add_script(&script);
        }
        if self.uv.is_some() && !spec.pip().is_empty() {
            spec.mix_into_digest("uv");
        }
    }

    /// Returns `post-install SHA256` and the like, as locks name scripts.
    fn script_digests(&self) -> Vec<String> {
        let scripts = [
            ("pre-install", &self.scripts.pre_install),
            ("post-install", &self.scripts.post_install),
        ];
        let given = scripts
            .into_iter()
            .filter_map(|(role, script)| Some((role, script.as_ref()?)));
        given
            .map(|(role, script)| format!("{role} {}", hex::encode(Sha256::digest(&script.text))))
            .collect()
    }

    /// Returns whether the scripts are those that the lock was made with.
    pub(super) fn has_scripts_of(&self, lock: &Lock) -> bool {
        self.script_digests() == lock.scripts()
    }

    /// Compares the scripts and the requirements with those of a lock, which does not hold the
    /// changes of other ones. `is_lock_alone` says that there is no environment file.
    ///
    /// # Errors
    /// Returns an error if a script of the lock is missing, or if requirements are given that the
    /// lock was not made for.
    pub(super) fn check_lock(
        &self,
        lock: &Lock,
        is_lock_alone: bool,
        report: &Report,
    ) -> anyhow::Result<()> {
        let given = self.script_digests();
        let role_of = |script: &str| script.split(' ').next().unwrap_or(script).to_owned();
        for script in lock.scripts() {
            let (role, digest) = (role_of(script), script.split(' ').nth(1).unwrap_or("?"));
            let of_role = lock.scripts().iter().filter(|other| role_of(other) == role);
            let count = of_role.count();
            if count > 1 {
                bail!(UserError::new(
                    format!(
                        "the lock was made with {count} {role} scripts, those of a build and of updates, and a build runs one"
                    ),
                    "build with the lock of the first generation, and update as before",
                ));
            }
            if given.contains(script) {
                continue;
            }
            if given.iter().any(|given| role_of(given) == role) {
                report.warning(format!(
                    "the lock was made with another {role} script, with the sha256 {digest}"
                ));
                continue;
            }
            bail!(UserError::new(
                format!(
                    "the lock was made with a {role} script (sha256 {digest}), and none is given"
                ),
                format!(
                    "give it again (`--{role} FILE`, or `--post` for cotainr), or remove its line below `scripts:` in the lock to build without it"
                ),
            ));
        }
        let text = self.requirements.as_ref().map(EnvironmentSpec::text);
        if let Some(text) = text.filter(|_| is_lock_alone)
            && lock.requirements_file() != Some(&text)
        {
            bail!(UserError::new(
                "the lock has exactly its packages, and was not made for these requirements",
                "name the environment file, too, or lock again",
            ));
        }
        Ok(())
    }

    /// Returns the steps that must run in a container.
    pub(super) fn needs_container(
        &self,
        spec: &EnvironmentSpec,
        locked: Option<&Solution>,
    ) -> Vec<String> {
        let mut needs: Vec<String> = condense_prefix::pip_to_build(spec, locked)
            .into_iter()
            .map(|line| format!("pip's build of `{line}`"))
            .collect();
        let scripts = [&self.scripts.pre_install, &self.scripts.post_install];
        needs.extend(
            scripts
                .into_iter()
                .flatten()
                .map(|script| format!("`{}`", script.name)),
        );
        if self.uv.is_some() && !spec.pip().is_empty() {
            needs.push("uv".to_owned());
        }
        needs
    }

    /// Adds scripts and options to a prefix that is about to be finished.
    pub(super) fn apply(&self, steps: &mut BuildSteps) {
        steps.add_scripts(self.scripts.clone());
        if let Some(uv) = &self.uv {
            steps.use_uv(uv.clone());
        }
        if self.no_cache {
            steps.without_pip_cache();
        }
    }

    pub(super) fn has_scripts(&self) -> bool {
        !self.scripts.is_empty()
    }

    /// Directories that the container must show.
    pub(super) fn shown(&self) -> Vec<PathBuf> {
        if self.scripts.is_empty() {
            Vec::new()
        } else {
            vec![self.scripts.work_dir.clone()]
        }
    }

    /// Returns the files that are kept with the installation: role, path below `share`, bytes.
    /// `taken` is the path of the environment file, which no other file gets.
    pub(super) fn kept(&self, folder: &Path, taken: &Path) -> Vec<(FileRole, PathBuf, Vec<u8>)> {
        let mut paths = vec![taken.to_owned()];
        let mut kept = Vec::new();
        for (role, name, text) in &self.kept {
            let mut path = folder.join(name);
            if paths.contains(&path) {
                path = folder.join(format!("{role}-{name}"));
            }
            paths.push(path.clone());
            kept.push((*role, path, text.clone().into_bytes()));
        }
        kept
    }
}

impl ScriptTarget<'_> {
    fn variables(self) -> Vec<(String, String)> {
        let name = self.env_path.file_name().unwrap_or_default();
        [
            (
                "CW_INSTALLATION_PREFIX",
                self.destination.display().to_string(),
            ),
            ("CW_ENV_NAME", name.to_string_lossy().into_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

/// Reads the requirements that the command line has, without a file.
fn inline_requirements(
    wanted: &ExtraInputs,
    settings: &PackageSettings,
) -> anyhow::Result<Option<EnvironmentSpec>> {
    if wanted.pip.is_empty() {
        return Ok(None);
    }
    let mut text = wanted.pip.join("\n");
    text.push('\n');
    Ok(Some(EnvironmentSpec::parse_requirements(
        &text,
        Path::new(INLINE),
        &wanted.work_dir,
        &settings.spec_context,
    )?))
}

/// Returns the name of a user's file among the files that are kept. `<(…)` has a number only.
pub(super) fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if path.starts_with("/dev/fd") || path.starts_with("/proc") {
        format!("pipe-{name}")
    } else {
        name.into_owned()
    }
}
