//! Responsible for one site: its values in the catalogue, its detection on this machine, and
//! configurations in Tykky's format, which override the catalogue.

use std::path::Path;

use anyhow::bail;
use condense_check::{Gpu, Machine as CheckMachine, Mpi};
use condense_image::Compression;
use condense_jobs::JobRules;
use serde::{Deserialize, Serialize};

use super::{
    keys::{
        FOLLOWED, Names, SECTIONS, UNUSUAL, WITHOUT_MEANING, is_default, with_suggestion, yes_or_no,
    },
    module_rules::ModuleRules,
    mpi_rules::MpiRules,
    rules::{BindRule, FlagRule, SiteRules, VariableRule},
};
use condense_env_vars::EnvVars;

/// Settings of a site for its users.
#[derive(Debug, Clone, Default, Serialize, PartialEq, Eq)]
pub struct Site {
    /// Name of the site in the catalogue.
    pub name: String,
    /// Description of the site for users.
    pub description: String,
    /// Start of the mount point, absolute.
    pub installation_path: String,
    /// Default base image: a name of the catalogue, a path, a reference, or `auto`.
    pub container_src: Option<String>,
    /// Default parent of the scratch directory.
    pub build_tmpdir_base: Option<String>,
    /// Default directory of package archives.
    pub cache_dir: Option<String>,
    /// Directories in which the site keeps base images.
    pub image_dirs: Vec<String>,
    /// Files and directories of the host that are visible in a base image named by the user, if
    /// they exist.
    pub binds: Vec<BindRule>,
    /// Flags of the runtime.
    pub flags: Vec<FlagRule>,
    /// Codecs supported by the site's runtime and kernels, the preferred one first; empty if
    /// unknown.
    pub codecs: Vec<String>,
    /// Vendor of the GPUs of the nodes: `amd`, `nvidia` or `none`.
    pub gpu: Option<String>,
    /// Version of ROCm that the driver of AMD belongs to.
    pub rocm_driver: Option<String>,
    /// Newest version of CUDA that the driver of NVIDIA supports.
    pub cuda_driver: Option<String>,
    /// Level of x86-64 that all nodes have, such as `x86_64_v3`.
    pub cpu: Option<String>,
    /// MPI library that the network needs: `mpich` or `openmpi`.
    pub mpi: Option<String>,
    /// Architecture as `uname -m` prints it, if all nodes have the same one.
    pub architecture: Option<String>,
    /// Environment variables of programs, with the nodes and the images that each is for.
    pub environment: Vec<VariableRule>,
    /// Host by which users enter the site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login_host: Option<String>,
    /// Rules for modules of images.
    #[serde(skip_serializing_if = "ModuleRules::is_empty")]
    pub module: ModuleRules,
    /// Rules for scripts of jobs.
    #[serde(skip_serializing_if = "JobRules::is_empty")]
    pub job: JobRules,
    /// Rules for the site's own MPI.
    #[serde(skip_serializing_if = "MpiRules::is_empty")]
    pub host_mpi: MpiRules,
    /// Path or name of the runtime's executable.
    pub singularity_executable_path: Option<String>,
    /// Names of the environment, and of the base and the image beside `bin`.
    #[serde(skip)]
    pub names: Names,
    /// Whether programs see the system directories of the default base and not those of the host.
    #[serde(skip)]
    pub isolate: bool,
    /// Whether an installation has a link to the base, not a file of its own.
    #[serde(skip)]
    pub share_container: bool,
    /// Keys of the site's configuration in Tykky's format that this version does not follow.
    #[serde(skip)]
    pub not_followed: Vec<String>,
}

/// Values of a site in one layer of the catalogue.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SiteEntry {
    pub(super) description: Option<String>,
    detect: Option<Vec<String>>,
    pub(super) like: Option<String>,
    installation_path: Option<String>,
    container_src: Option<String>,
    build_tmpdir_base: Option<String>,
    cache_dir: Option<String>,
    image_dirs: Option<Vec<String>>,
    binds: Option<Vec<BindRule>>,
    flags: Option<Vec<FlagRule>>,
    codecs: Option<Vec<String>>,
    gpu: Option<String>,
    rocm_driver: Option<String>,
    cuda_driver: Option<String>,
    cpu: Option<String>,
    mpi: Option<String>,
    architecture: Option<String>,
    environment: Option<Vec<VariableRule>>,
    login_host: Option<String>,
    module: Option<ModuleRules>,
    job: Option<JobRules>,
    host_mpi: Option<MpiRules>,
}

/// Properties of a machine by which its site is detected.
#[derive(Debug)]
pub struct Machine<'a> {
    /// Name of the host, without a domain.
    pub host: String,
    /// Environment variables of the user.
    pub env_vars: &'a EnvVars,
    /// Function that returns whether a file exists.
    pub exists: fn(&Path) -> bool,
}

impl<'a> Machine<'a> {
    /// Returns the properties of the machine that runs the program.
    pub fn this(env_vars: &'a EnvVars) -> Self {
        let name = rustix::system::uname();
        let host = name.nodename().to_string_lossy();
        Self {
            host: host.split('.').next().unwrap_or_default().to_owned(),
            env_vars,
            exists: Path::exists,
        }
    }
}

impl SiteEntry {
    /// Checks all values, so that mistakes are reported when the catalogue is read and not during a
    /// build.
    pub(super) fn check(self) -> anyhow::Result<Self> {
        for condition in self.detect.iter().flatten() {
            for word in condition.split_whitespace() {
                let kind = word.split(':').next().unwrap_or_default();
                if !matches!(kind, "path" | "env" | "host") || !word.contains(':') {
                    bail!(
                        "`detect`: `{word}` is not path:FILE, env:NAME, env:NAME=GLOB or host:GLOB"
                    );
                }
                let pattern = word.split_once(if kind == "env" { '=' } else { ':' });
                if kind != "path"
                    && let Some((_, pattern)) = pattern
                    && let Err(error) = glob::Pattern::new(pattern)
                {
                    bail!("`detect`: `{word}`: {}", error.msg);
                }
            }
        }
        for rule in self.environment.iter().flatten() {
            rule.check()?;
        }
        if let Some(Err(problem)) = self.job.as_ref().map(JobRules::check) {
            bail!("`job`: {problem}");
        }
        let of_binds = self.binds.iter().flatten().map(|rule| &rule.images);
        let of_flags = self.flags.iter().flatten().map(|rule| &rule.images);
        for images in of_binds.chain(of_flags) {
            images.check()?;
        }
        for flag in self.flags.iter().flatten().map(|rule| &rule.text) {
            if !flag.starts_with('-') {
                bail!("`flags`: `{flag}` does not start with a hyphen");
            }
        }
        self.host_mpi.iter().try_for_each(MpiRules::check)?;
        for codec in self.codecs.iter().flatten() {
            if codec.parse::<Compression>().is_err() {
                bail!("`codecs`: `{codec}` is not zstd, gzip, lz4, xz or none");
            }
        }
        for (key, value, good, expected) in [
            (
                "gpu",
                &self.gpu,
                is_some(self.gpu.as_ref(), |word| word.parse::<Gpu>().is_ok()),
                "amd, nvidia or none",
            ),
            (
                "mpi",
                &self.mpi,
                is_some(self.mpi.as_ref(), |word| word.parse::<Mpi>().is_ok()),
                "mpich or openmpi",
            ),
            (
                "cpu",
                &self.cpu,
                is_some(self.cpu.as_ref(), |word| {
                    CheckMachine::parse_cpu_level(word).is_some()
                }),
                "x86_64, x86_64_v2, x86_64_v3 or x86_64_v4",
            ),
        ] {
            if let (Some(value), false) = (value, good) {
                bail!("`{key}`: `{value}` is not {expected}");
            }
        }
        Ok(self)
    }

    pub(super) fn override_with(&mut self, over: Self) {
        fn take<T>(under: &mut Option<T>, over: Option<T>) {
            if over.is_some() {
                *under = over;
            }
        }
        take(&mut self.description, over.description);
        take(&mut self.detect, over.detect);
        take(&mut self.like, over.like);
        take(&mut self.installation_path, over.installation_path);
        take(&mut self.container_src, over.container_src);
        take(&mut self.build_tmpdir_base, over.build_tmpdir_base);
        take(&mut self.cache_dir, over.cache_dir);
        take(&mut self.image_dirs, over.image_dirs);
        take(&mut self.binds, over.binds);
        take(&mut self.flags, over.flags);
        take(&mut self.codecs, over.codecs);
        take(&mut self.gpu, over.gpu);
        take(&mut self.rocm_driver, over.rocm_driver);
        take(&mut self.cuda_driver, over.cuda_driver);
        take(&mut self.cpu, over.cpu);
        take(&mut self.mpi, over.mpi);
        take(&mut self.architecture, over.architecture);
        take(&mut self.environment, over.environment);
        take(&mut self.login_host, over.login_host);
        take(&mut self.module, over.module);
        if let Some(job) = over.job {
            self.job.get_or_insert_default().override_with(job);
        }
        take(&mut self.host_mpi, over.host_mpi);
    }

    /// Returns the number of words of the longest condition that holds.
    pub(super) fn matching_words(&self, machine: &Machine) -> Option<usize> {
        let conditions = self.detect.iter().flatten();
        conditions
            .filter(|condition| {
                !condition.trim().is_empty()
                    && condition
                        .split_whitespace()
                        .all(|word| holds(word, machine))
            })
            .map(|condition| condition.split_whitespace().count())
            .max()
    }

    pub(super) fn into_site(self, name: &str) -> anyhow::Result<Site> {
        let site = Site {
            name: name.to_owned(),
            description: self.description.unwrap_or_default(),
            installation_path: self.installation_path.unwrap_or_default(),
            container_src: self.container_src,
            build_tmpdir_base: self.build_tmpdir_base,
            cache_dir: self.cache_dir,
            image_dirs: self.image_dirs.unwrap_or_default(),
            binds: self.binds.unwrap_or_default(),
            flags: self.flags.unwrap_or_default(),
            codecs: self.codecs.unwrap_or_default(),
            gpu: self.gpu,
            rocm_driver: self.rocm_driver,
            cuda_driver: self.cuda_driver,
            cpu: self.cpu,
            mpi: self.mpi,
            architecture: self.architecture,
            environment: self.environment.unwrap_or_default(),
            login_host: self.login_host,
            module: self.module.unwrap_or_default(),
            job: self.job.unwrap_or_default(),
            host_mpi: self.host_mpi.unwrap_or_default(),
            singularity_executable_path: None,
            names: Names::default(),
            isolate: false,
            share_container: false,
            not_followed: Vec::new(),
        };
        site.check()?;
        Ok(site)
    }
}

fn is_some(value: Option<&String>, good: fn(&str) -> bool) -> bool {
    value.is_some_and(|value| good(value))
}

fn holds(word: &str, machine: &Machine) -> bool {
    match word.split_once(':') {
        Some(("path", path)) => (machine.exists)(Path::new(path)),
        Some(("host", pattern)) => matches(pattern, &machine.host),
        Some(("env", text)) => match text.split_once('=') {
            Some((name, pattern)) => {
                let value = machine.env_vars.get(name);
                value.is_some_and(|value| matches(pattern, value))
            }
            None => machine.env_vars.get(text).is_some(),
        },
        _ => false,
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    glob::Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(text))
}

impl Site {
    /// Applies a configuration in Tykky's format: the section `force` if `force` is set, and
    /// otherwise `defaults`, `prepends` and `appends`. The caller applies the `force` sections of
    /// all files last, so that they win. Values are data and never run as shell code.
    pub(super) fn apply(&mut self, text: &str, force: bool) -> anyhow::Result<()> {
        let root: serde_yaml::Value = serde_yaml::from_str(text)?;
        let Some(root) = root.as_mapping() else {
            bail!("expected a mapping with `defaults:` or `force:`")
        };
        let sections: &[&str] = if force {
            &["force"]
        } else {
            &["defaults", "prepends", "appends"]
        };
        for section in sections {
            let Some(values) = root.get(section).filter(|value| !value.is_null()) else {
                continue;
            };
            let Some(values) = values.as_mapping() else {
                bail!("`{section}:` is not a mapping")
            };
            for (key, value) in values {
                let Some(key) = key.as_str() else { continue };
                if FOLLOWED.contains(&key) {
                    self.follow(section, key, value)?;
                } else if !WITHOUT_MEANING.contains(&key) {
                    if is_default(key, value) {
                        continue;
                    }
                    self.not_followed.push(with_suggestion(key, &FOLLOWED));
                } else if let Some((_, unusual)) = UNUSUAL.iter().find(|(name, _)| *name == key)
                    && yes_or_no(value) == Some(*unusual)
                {
                    let word = if *unusual { "yes" } else { "no" };
                    self.not_followed.push(format!("{key}: {word}"));
                }
            }
        }
        if !force {
            for key in root.keys().filter_map(serde_yaml::Value::as_str) {
                if !SECTIONS.contains(&key) {
                    self.not_followed.push(with_suggestion(key, &SECTIONS));
                }
            }
        }
        self.check()
    }

    fn follow(
        &mut self,
        section: &str,
        key: &str,
        value: &serde_yaml::Value,
    ) -> anyhow::Result<()> {
        if key == "mount_points" {
            let Some(values) = value.as_sequence() else {
                bail!("`{key}:` is not a list")
            };
            let mut binds = Vec::new();
            for value in values {
                let Some(path) = value.as_str() else {
                    bail!("`{key}:` has an entry that is not a text")
                };
                binds.push(BindRule::from(path.to_owned()));
            }
            match section {
                "prepends" => self.binds = [binds, std::mem::take(&mut self.binds)].concat(),
                "appends" => self.binds.extend(binds),
                _ => self.binds = binds,
            }
            return Ok(());
        }
        if matches!(key, "isolate" | "share_container") {
            let Some(is_wanted) = yes_or_no(value) else {
                bail!("`{key}:` is neither `yes` nor `no`")
            };
            if key == "isolate" {
                self.isolate = is_wanted;
            } else {
                self.share_container = is_wanted;
            }
            return Ok(());
        }
        let Some(text) = value.as_str() else {
            bail!("`{key}:` is not a text")
        };
        let text = text.to_owned();
        match key {
            "container_src" => self.container_src = Some(text),
            "installation_path" => self.installation_path = text,
            "build_tmpdir_base" => self.build_tmpdir_base = Some(text),
            "env_name" => self.names.environment = Some(text),
            "container_image" => self.names.container = Some(text),
            "sqfs_image" => self.names.image = Some(text),
            _ => self.singularity_executable_path = Some(text),
        }
        Ok(())
    }

    /// Returns the rules of the site for the start of programs. Variables in paths of binds are
    /// expanded with `look`.
    pub fn rules(&self, look: impl Fn(&str) -> Option<String>) -> SiteRules {
        let expanded = |rule: &BindRule| rule.with_text(expand(&rule.text, &look));
        SiteRules {
            binds: self.binds.iter().map(expanded).collect(),
            flags: self.runtime_flags(),
            variables: self.variables(),
            no_user_site: false,
            mpi: self.host_mpi.clone(),
        }
    }

    /// Returns the variables that are for the driver of the site.
    fn variables(&self) -> Vec<VariableRule> {
        let driver = match self.machine().gpu {
            Some(Gpu::Amd) => self.rocm_driver.as_deref(),
            Some(Gpu::Nvidia) => self.cuda_driver.as_deref(),
            _ => None,
        };
        let rules = self.environment.iter();
        rules
            .filter(|rule| rule.is_for_driver(driver))
            .cloned()
            .collect()
    }

    /// Returns the flags of the runtime, including the flag for the GPUs of the site. The flag does
    /// not depend on this machine: a build may run on a login node without GPUs, and its programs
    /// on nodes with GPUs.
    fn runtime_flags(&self) -> Vec<FlagRule> {
        let mut flags = self.flags.clone();
        let of_gpu = match self.machine().gpu {
            Some(Gpu::Amd) => Some("--rocm"),
            Some(Gpu::Nvidia) => Some("--nv"),
            _ => None,
        };
        if let Some(flag) = of_gpu.filter(|flag| !flags.iter().any(|known| known.text == *flag)) {
            flags.push(flag.to_owned().into());
        }
        flags
    }

    /// Returns the compressions that images may have, the preferred one first. The names were
    /// checked when the catalogue was read.
    pub fn compressions(&self) -> impl Iterator<Item = Compression> {
        self.codecs.iter().filter_map(|text| text.parse().ok())
    }

    /// Returns the properties of the machine that jobs run on, on which findings depend.
    pub fn machine(&self) -> CheckMachine {
        CheckMachine {
            site: self.name.clone(),
            gpu: self.gpu.as_deref().and_then(|word| word.parse().ok()),
            codecs: self
                .compressions()
                .map(|it| it.codec().to_string())
                .collect(),
            rocm_driver: self.rocm_driver.clone(),
            cuda_driver: self.cuda_driver.clone(),
            cpu_level: self.cpu.as_deref().and_then(CheckMachine::parse_cpu_level),
            architecture: self.architecture.clone(),
            mpi: self.mpi.as_deref().and_then(|word| word.parse().ok()),
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        if !self.installation_path.starts_with('/') || self.installation_path.len() < 2 {
            bail!(
                "`installation_path: {}` is not an absolute path",
                self.installation_path
            );
        }
        Ok(())
    }
}

/// Replaces `${NAME}` and `$NAME` by the values that `variable` returns. Unknown names are replaced
/// by nothing.
pub fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (name, after) = if let Some(inner) = rest.strip_prefix('{') {
            inner.split_once('}').unwrap_or((inner, ""))
        } else {
            let end = rest
                .find(|c: char| !(c == '_' || c.is_ascii_alphanumeric()))
                .unwrap_or(rest.len());
            rest.split_at(end)
        };
        out.push_str(&variable(name).unwrap_or_default());
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests;
