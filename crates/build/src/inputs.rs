//! Responsible for what a build has besides its environment file: a requirements file, scripts, uv;
//! and for keeping it all.

use std::path::{Path, PathBuf};

use condense_installation::FileRole;
use condense_prefix::{BuildSteps, EnvironmentSpec, Lock, Scripts, Solution, UserScript, Uv};
use sha2::{Digest, Sha256};

use crate::{
    plan::{GivenText, Plan},
    report::Report,
};

/// Everything that was named beside the environment file, read.
#[derive(Debug, Default)]
pub(super) struct LoadedInputs {
    requirements: Option<EnvironmentSpec>,
    scripts: Scripts,
    uv: Option<Uv>,
    no_cache: bool,
    /// What is kept: its role, the file's name, its text.
    kept: Vec<(FileRole, String, String)>,
}

impl LoadedInputs {
    /// Reads all files.
    ///
    /// # Errors
    /// One that cannot be read, or that pip could not read.
    pub(super) fn load(plan: &Plan) -> anyhow::Result<Self> {
        let wanted = &plan.inputs;
        let mut kept = Vec::new();
        let requirements = match &wanted.requirements {
            None => None,
            Some(path) => {
                let requirements =
                    EnvironmentSpec::load_requirements(path, &plan.settings.spec_context)?;
                kept.push((
                    FileRole::Requirements,
                    name(path),
                    requirements.text().into_owned(),
                ));
                Some(requirements)
            }
        };
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
            variables: vec![
                (
                    "CW_INSTALLATION_PREFIX".to_owned(),
                    plan.prefix_dir.display().to_string(),
                ),
                (
                    "CW_ENV_NAME".to_owned(),
                    plan.env_path
                        .file_name()
                        .map(|name| name.to_string_lossy().into_owned())
                        .unwrap_or_default(),
                ),
            ],
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
            kept,
        })
    }

    /// Lines of bash instead of a file of them.
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

    /// What pip is to install, if anything.
    pub(super) fn requirements(&self) -> EnvironmentSpec {
        self.requirements.clone().unwrap_or_default()
    }

    /// True where pip or uv use no cache.
    pub(super) fn without_cache(&self) -> bool {
        self.no_cache
    }

    /// Where uv comes from, if it installs for pip.
    pub(super) fn uv(&self) -> Option<&Uv> {
        self.uv.as_ref()
    }

    /// Names of the scripts.
    pub(super) fn script_names(&self) -> Vec<&str> {
        let scripts = [&self.scripts.pre_install, &self.scripts.post_install];
        let scripts = scripts.into_iter().flatten();
        scripts.map(|script| script.name.as_str()).collect()
    }

    /// What pip is to install, line by line. May hold credentials.
    pub(super) fn pip_lines(&self) -> &[String] {
        self.requirements.as_ref().map_or(&[], EnvironmentSpec::pip)
    }

    /// What pip reads of this machine.
    pub(super) fn local_paths(&self) -> Vec<PathBuf> {
        let requirements = self.requirements.as_ref();
        requirements.map_or(Vec::new(), |found| found.local_paths().to_vec())
    }

    /// Other scripts make another environment of the same packages.
    pub(super) fn mix_into_digest(&self, spec: &mut EnvironmentSpec) {
        for script in self.script_digests() {
            spec.add_script(&script);
        }
        if self.uv.is_some() && !spec.pip().is_empty() {
            spec.mix_into_digest("uv");
        }
    }

    /// `post-install SHA256`, as locks name scripts.
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

    /// Warns where a lock was made with other scripts: it does not hold what they did.
    pub(super) fn compare(&self, lock: &Lock, report: &Report) {
        let given = self.script_digests();
        for script in lock.scripts() {
            let role = script.split(' ').next().unwrap_or(script);
            if !given.contains(script) {
                let how = if given.iter().any(|given| given.starts_with(role)) {
                    "this is another one"
                } else {
                    "none is given now"
                };
                report.warning(format!("the lock was made with a {role} script, {how}"));
            }
        }
    }

    /// What cannot be done without a container.
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

    /// Hands everything to the prefix that is about to be finished.
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

    /// What is kept with the installation: role, path below `share`, bytes. `taken` is the
    /// environment file's own name.
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

/// What a file of the user's is called among those that are kept; `<(…)` has a number only.
pub(super) fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if path.starts_with("/dev/fd") || path.starts_with("/proc") {
        format!("pipe-{name}")
    } else {
        name.into_owned()
    }
}
