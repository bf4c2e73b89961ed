//! Responsible for reading the user's file of packages: an environment.yml, an `@EXPLICIT` file, a
//! list of packages or a requirements file. The file is read into channels, match specs, archives,
//! lines for pip and variables. Mistakes are reported with line and column.
//!
//! This module reads all files that conda, pip and conda-lock themselves write or read; the tables
//! in `fixtures/environments` have examples. Contents that are read but not followed give a
//! [`Warning`].

mod channel;
mod context;
mod environment;
mod explicit;
mod lines;
mod list;
mod package;
mod pip;
mod priority;
mod problem;
mod selector;
mod yaml;

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use rattler_conda_types::{Channel, MatchSpec, PackageNameMatcher};
use sha2::{Digest, Sha256};

use crate::{
    error::Error,
    progress::Warning,
    secrets::{url_without_secrets, without_secrets},
    solution::{NamedPackage, Solution},
    text,
};
pub use context::SpecContext;
pub(crate) use environment::hint_about_key;
pub(crate) use explicit::Archive;
use list::Reading;
pub(crate) use package::{needed, refuse_long};
use pip::PipSection;
pub use priority::ChannelPriority;
use problem::Problem;

/// Contents of the user's file of packages, not solved yet.
#[derive(Debug, Clone, Default)]
pub struct EnvironmentSpec {
    pub(crate) kind: Kind,
    pub(crate) channels: Vec<Channel>,
    channel_priority: ChannelPriority,
    pub(crate) specs: Vec<Requested>,
    pub(crate) archives: Vec<Archive>,
    pip: PipSection,
    variables: Vec<(String, String)>,
    warnings: Vec<Warning>,
    text: String,
    extra_digest_texts: Vec<String>,
    scripts: Vec<String>,
    /// Texts of the files that the packages of a lock were asked for in.
    of_lock: Option<FilesOfLock>,
    /// Text of the requirements file that was added.
    requirements: Option<String>,
}

/// Files that a lock repeats.
#[derive(Debug, Clone, Default)]
struct FilesOfLock {
    environment: Option<String>,
    requirements: Option<String>,
}

/// Kinds of files that list packages to install.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// An environment.yml, as users and `conda env export` write it.
    #[default]
    Environment,
    /// A list of packages by URL, below the line `@EXPLICIT`; nothing is solved.
    Explicit,
    /// A list of match specs, one per line, as `conda create --file` reads and `conda list
    /// --export` writes it.
    List,
    /// A requirements file of pip.
    Requirements,
}

impl Kind {
    /// Returns one word for the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Explicit => "explicit",
            Self::List => "list",
            Self::Requirements => "requirements",
        }
    }
}

/// A request for a conda package, parsed and as text.
#[derive(Debug, Clone)]
pub(crate) struct Requested {
    pub(crate) spec: MatchSpec,
    /// Text of the line in the file, without credentials.
    pub(crate) written: String,
}

impl EnvironmentSpec {
    /// Reads a file of packages for conda. The file's kind follows from its contents and from
    /// `.yml` or `.yaml` in its name. Lines that both conda and pip understand are read as conda's.
    ///
    /// # Errors
    /// Returns [`Error::Io`] if the file cannot be read, and [`Error::Spec`] with line and column
    /// if it cannot be understood.
    pub fn load(file: &Path, context: &SpecContext) -> Result<Self, Error> {
        let (text, folder) = open(file)?;
        let mut spec = Self::parse_in(&text, file, &folder, context)?;
        if spec.kind == Kind::List
            && is_named_requirements(file)
            && list::could_be_requirements(&text)
        {
            spec.warnings.push(Warning::at_line(1, "the lines of this requirements file are taken for conda packages, as conda takes them".to_owned()));
        }
        spec.name_file(file);
        Ok(spec)
    }

    /// Reads a file as [`EnvironmentSpec::load`] does, except that lines which both conda and pip
    /// understand are pip's if `requirements` or `constraints` is in the file's name.
    ///
    /// # Errors
    /// Returns the errors of [`EnvironmentSpec::load`].
    pub fn load_by_name(file: &Path, context: &SpecContext) -> Result<Self, Error> {
        let (text, folder) = open(file)?;
        let spec = Self::parse_in(&text, file, &folder, context)?;
        if spec.kind == Kind::List
            && is_named_requirements(file)
            && list::could_be_requirements(&text)
        {
            return Self::load_requirements(file, context);
        }
        Ok(spec)
    }

    /// Reads a requirements file of pip, whatever its name is.
    ///
    /// # Errors
    /// Returns the errors of [`EnvironmentSpec::load`].
    pub fn load_requirements(file: &Path, context: &SpecContext) -> Result<Self, Error> {
        let (text, folder) = open(file)?;
        let mut spec = list::read(&text, &folder, context, Reading::Pip)
            .map_err(|problem| problem.into_error(file))?;
        spec.name_file(file);
        Ok(spec)
    }

    /// Reads requirements for pip that are given without a file. `name` stands for the file in
    /// errors; relative paths start at `folder`.
    ///
    /// # Errors
    /// Returns [`Error::Spec`] with line and column if the text cannot be understood.
    pub fn parse_requirements(
        text: &str,
        name: &Path,
        folder: &Path,
        context: &SpecContext,
    ) -> Result<Self, Error> {
        list::read(text, folder, context, Reading::Pip).map_err(|problem| problem.into_error(name))
    }

    /// Adds the lines of a requirements file. pip gets them together with the lines of this file.
    pub fn add_requirements(&mut self, requirements: &Self) {
        self.requirements = Some(requirements.text().into_owned());
        let (own, more) = (&mut self.pip, &requirements.pip);
        own.written.extend(more.written.iter().cloned());
        own.lines.extend(more.lines.iter().cloned());
        own.identity.extend(more.identity.iter().cloned());
        own.local_paths.extend(more.local_paths.iter().cloned());
        self.warnings.extend(requirements.warnings.iter().cloned());
        if matches!(self.kind, Kind::Environment | Kind::List) {
            environment::ensure_pip(self);
        }
    }

    /// Adds one package, written as on conda's command line.
    pub(crate) fn add_package(&mut self, text: &str) -> Result<MatchSpec, String> {
        let spec = package::match_spec(text, Path::new("/"))?;
        self.specs.push(Requested {
            spec: spec.clone(),
            written: without_secrets(text).into_owned(),
        });
        Ok(spec)
    }

    /// Adds a channel with lower priority than all others.
    pub(crate) fn add_channel(&mut self, text: &str) -> Result<(), String> {
        let channel = channel::channel(text, Path::new("/"))?;
        if !self
            .channels
            .iter()
            .any(|known| known.base_url == channel.base_url)
        {
            self.channels.push(channel);
        }
        Ok(())
    }

    /// Adds a text to the environment's digest. Environments that are made of the same files but
    /// built differently get different suffixes in this way.
    pub fn mix_into_digest(&mut self, by: &str) {
        self.extra_digest_texts.push(by.to_owned());
    }

    /// Adds a script that belongs to the environment, in the form `post-install SHA256`.
    pub fn add_script(&mut self, script: &str) {
        self.scripts.push(script.to_owned());
    }

    pub(crate) fn scripts(&self) -> impl Iterator<Item = &str> {
        self.scripts.iter().map(String::as_str)
    }

    /// Parses the text of a file, without environment variables and for the processor architecture
    /// of this machine. `file` is the file's name for errors; relative paths start at `folder`.
    ///
    /// # Errors
    /// Returns [`Error::Spec`] with line and column if the text cannot be understood.
    ///
    /// # Examples
    /// ```
    /// use std::path::Path;
    /// let text = "channels: [conda-forge]\ndependencies:\n  - numpy <2\n  - pip:\n      - rich\n";
    /// let (file, folder) = (Path::new("env.yml"), Path::new("/"));
    /// let spec = condense_prefix::EnvironmentSpec::parse(text, file, folder).unwrap();
    /// assert_eq!(spec.conda_specs().collect::<Vec<_>>(), ["numpy <2"]);
    /// assert_eq!(spec.pip(), ["rich"]);
    /// ```
    pub fn parse(text: &str, file: &Path, folder: &Path) -> Result<Self, Error> {
        Self::parse_in(text, file, folder, &SpecContext::default())
    }

    /// Parses the text of a file like [`EnvironmentSpec::parse`], with the architecture and
    /// environment variables in `context`.
    ///
    /// # Errors
    /// Returns [`Error::Spec`] with line and column if the text cannot be understood.
    pub fn parse_in(
        text: &str,
        file: &Path,
        folder: &Path,
        context: &SpecContext,
    ) -> Result<Self, Error> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let spec = if is_yaml(text, file) {
            environment::read(text, folder, context)
        } else {
            let reading = if is_named_requirements(file) {
                Reading::PipRather
            } else {
                Reading::CondaRather
            };
            list::read(text, folder, context, reading)
        };
        let mut spec = spec.map_err(|problem| problem.into_error(file))?;
        spec.name_file(file);
        Ok(spec)
    }

    /// Names the file of the warnings about its lines.
    fn name_file(&mut self, file: &Path) {
        for warning in &mut self.warnings {
            warning.name_file(file);
        }
    }

    /// Parses a file's bytes in any encoding, like [`EnvironmentSpec::parse_in`].
    ///
    /// # Errors
    /// Returns [`Error::Spec`] with line and column if the text cannot be understood.
    pub fn parse_bytes(
        bytes: &[u8],
        file: &Path,
        folder: &Path,
        context: &SpecContext,
    ) -> Result<Self, Error> {
        Self::parse_in(&decode(bytes, file)?, file, folder, context)
    }

    /// Returns the kind of file that the spec was read from.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the requests for conda packages as written, in the order of the file and without
    /// credentials. A `pip` that condense added is left out.
    pub fn conda_specs(&self) -> impl Iterator<Item = &str> {
        let archives = self.archives.iter().map(|archive| archive.written.as_str());
        archives.chain(self.package_texts())
    }

    /// Returns the requests for conda packages by name, without a `pip` that condense added.
    pub(crate) fn package_texts(&self) -> impl Iterator<Item = &str> {
        let added = self.has_added_pip().then_some("pip");
        let texts = self
            .specs
            .iter()
            .map(|requested| requested.written.as_str());
        texts.filter(move |text| added != Some(text))
    }

    /// Returns true if condense added `pip`, which nothing else requests then.
    pub(crate) fn has_added_pip(&self) -> bool {
        self.warnings.contains(&Warning::PipAdded)
    }

    /// Adds `pip` as if there were lines for pip without a request for it.
    pub(crate) fn add_pip(&mut self) {
        if self.add_package("pip").is_ok() {
            self.warnings.push(Warning::PipAdded);
        }
    }

    /// Returns the text of the environment file without credentials; for a lock, that of the file
    /// which the lock was made for.
    pub fn environment_file(&self) -> Option<Cow<'_, str>> {
        match &self.of_lock {
            Some(files) => files.environment.as_deref().map(Cow::Borrowed),
            None if self.text.is_empty() => None,
            None => Some(self.text()),
        }
    }

    /// Returns the text of the requirements file without credentials; for a lock, that of the file
    /// which the lock was made for.
    pub fn requirements_file(&self) -> Option<&str> {
        let of_lock = self.of_lock.as_ref();
        let of_lock = of_lock.and_then(|files| files.requirements.as_deref());
        self.requirements.as_deref().or(of_lock)
    }

    /// Sets the files that the packages of a lock were asked for in, and the lines for pip as they
    /// were written there. pip gets the lock's packages instead of these lines.
    pub(crate) fn set_files(
        &mut self,
        environment: Option<String>,
        requirements: Option<String>,
        pip: &[String],
    ) {
        self.of_lock = Some(FilesOfLock {
            environment,
            requirements,
        });
        self.pip.written = pip.to_vec();
    }

    /// Returns the conda packages that are requested by name.
    pub fn conda_packages(&self) -> Vec<NamedPackage> {
        let named = self.specs.iter().map(|requested| &requested.spec);
        named
            .filter_map(|spec| {
                let PackageNameMatcher::Exact(name) = &spec.name else {
                    return None;
                };
                let text = |part: Option<String>| part.unwrap_or_default();
                Some(NamedPackage {
                    name: name.as_normalized().to_owned(),
                    version: text(spec.version.as_ref().map(ToString::to_string)),
                    build: text(spec.build.as_ref().map(ToString::to_string)),
                    channel: text(
                        spec.channel
                            .as_ref()
                            .map(|channel| url_without_secrets(channel.base_url.as_ref())),
                    ),
                })
            })
            .collect()
    }

    /// Returns the lines that pip gets. Included files are replaced by their lines, and paths are
    /// absolute. The lines may contain credentials.
    pub fn pip(&self) -> &[String] {
        &self.pip.lines
    }

    /// Returns true if pip has packages to install: those in the lock file, or else those in the
    /// environment file.
    pub fn needs_pip(&self, locked: Option<&Solution>) -> bool {
        match locked.and_then(|solution| solution.locked_pip.as_ref()) {
            Some(locked) => !locked.is_empty(),
            None => !self.pip().is_empty(),
        }
    }

    /// Removes the lines for pip that ask for these projects, by their normalised names.
    pub fn remove_pip_requests(&mut self, names: &[String]) {
        self.pip.remove(names);
    }

    /// Returns the lines for pip as written, without credentials.
    pub fn pip_as_written(&self) -> &[String] {
        &self.pip.written
    }

    /// Returns files and directories of this machine that pip reads. They must exist at the same
    /// paths in the container where pip runs.
    pub fn local_paths(&self) -> &[PathBuf] {
        &self.pip.local_paths
    }

    /// Returns names and values in `variables:`, in the order of the file.
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// Returns the priority of channels.
    pub fn channel_priority(&self) -> ChannelPriority {
        self.channel_priority
    }

    /// Sets the priority of channels.
    pub fn set_channel_priority(&mut self, priority: ChannelPriority) {
        self.channel_priority = priority;
    }

    /// Returns the URLs of the channels without credentials, by priority.
    pub fn channels(&self) -> Vec<String> {
        self.channels
            .iter()
            .map(|channel| url_without_secrets(channel.base_url.as_ref()))
            .collect()
    }

    /// Returns true if the file names no channel, so that the default channel is used.
    /// Returns a spec without packages, for questions about channels. Relative paths start at
    /// `folder`.
    ///
    /// # Errors
    /// Returns [`Error::Spec`] for a text that is no channel.
    pub fn of_channels(
        channels: &[impl AsRef<str>],
        folder: &Path,
        context: &SpecContext,
    ) -> Result<Self, Error> {
        let mut spec = Self::default();
        for text in channels {
            let text = text.as_ref();
            let found = channel::channels(text, folder, context);
            spec.channels.extend(found.map_err(|message| Error::Spec {
                file: text.into(),
                line: 0,
                column: 0,
                message,
            })?);
        }
        Ok(spec)
    }

    /// Returns the addresses of indices that each of the channels must have.
    pub fn index_addresses(&self) -> Vec<url::Url> {
        let channels = self.channels.iter();
        let dirs =
            channels.map(|channel| channel.platform_url(rattler_conda_types::Subdir::NoArch));
        dirs.filter_map(|dir| dir.join("repodata.json").ok())
            .collect()
    }

    pub(crate) fn names_no_channel(&self) -> bool {
        let no_channel = |warning: &Warning| matches!(warning, Warning::NoChannel { .. });
        self.warnings.iter().any(no_channel)
    }

    /// Removes the warning that the file names no channel. Called when the user's condarc has named
    /// the channels.
    pub(crate) fn remove_no_channel_warning(&mut self) {
        self.warnings
            .retain(|warning| !matches!(warning, Warning::NoChannel { .. }));
    }

    /// Returns true if the file has the word `nodefaults`: the user wants only
    /// the channels of the file.
    pub(crate) fn has_nodefaults(&self) -> bool {
        self.text.lines().any(|line| {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split(|c: char| c.is_whitespace() || ",[]'\"".contains(c));
            words.any(|word| word == "nodefaults")
        })
    }

    /// Returns warnings about contents that were read but are not followed.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Returns the text of the file without credentials, so that it can be stored in the
    /// installation.
    pub fn text(&self) -> Cow<'_, str> {
        without_secrets(&self.text)
    }

    /// Returns a spec for an environment that is described by a lock file alone.
    pub(crate) fn from_lock(text: &str, variables: Vec<(String, String)>) -> Self {
        Self {
            variables,
            text: text.to_owned(),
            of_lock: Some(FilesOfLock::default()),
            ..Self::default()
        }
    }

    /// Returns the digest of everything in the spec except the packages of conda and pip.
    pub(crate) fn digest_of_variables(&self) -> [u8; 32] {
        let mut rest = Self::from_lock("", self.variables.clone());
        rest.extra_digest_texts.clone_from(&self.extra_digest_texts);
        rest.scripts.clone_from(&self.scripts);
        rest.digest_beyond_conda()
    }

    /// Returns the digest of everything in the spec except its conda packages: lines for pip,
    /// variables, scripts, and texts of [`EnvironmentSpec::mix_into_digest`].
    pub(crate) fn digest_beyond_conda(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        // Paths are hashed as written: the same project in another directory gives the same
        // environment.
        for line in &self.pip.identity {
            hash.update(line.as_bytes());
            hash.update([0]);
        }
        for (name, value) in &self.variables {
            hash.update([1]);
            hash.update(name.as_bytes());
            hash.update([0]);
            hash.update(value.as_bytes());
        }
        for text in self.extra_digest_texts.iter().chain(&self.scripts) {
            hash.update([2]);
            hash.update(text.as_bytes());
        }
        hash.finalize().into()
    }
}

fn open(file: &Path) -> Result<(String, PathBuf), Error> {
    let bytes = condense_input::read_named(file, condense_input::TEXT_MOST)
        .map_err(Error::io("read", file))?;
    let text = decode(&bytes, file)?;
    let folder = match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let folder = fs_err::canonicalize(&folder).map_err(Error::io("resolve", &folder))?;
    Ok((text, folder))
}

/// Decodes a file. A declaration of the encoding is followed only in files that pip reads, since
/// conda ignores it.
fn decode(bytes: &[u8], file: &Path) -> Result<String, Error> {
    let text = if is_named_yaml(file) {
        text::decode(bytes)
    } else {
        text::decode_declared(bytes)
    };
    text.map_err(|decode_error| Problem::from(decode_error).into_error(file))
}

/// Returns true if the file is YAML: by its name, as Tykky decides (`x.yml.txt` counts), or by its
/// first key. A file with the line `@EXPLICIT` is never YAML.
fn is_yaml(text: &str, file: &Path) -> bool {
    // A lock may repeat the text of an explicit list.
    let is_lock = text.starts_with("version: ");
    if !is_lock && text.lines().any(|line| line.trim() == explicit::MARK) {
        return false;
    }
    let first = text
        .lines()
        .map(str::trim_end)
        .find(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    let begins_mapping = |line: &str| {
        let key = line.split_once(':').filter(|(key, rest)| {
            let is_key = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            key.chars().all(is_key) && (rest.is_empty() || rest.starts_with([' ', '\t']))
        });
        key.is_some() || line == "---" || line.starts_with('{')
    };
    is_named_yaml(file) || first.is_some_and(begins_mapping)
}

fn is_named_yaml(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.contains(".yml") || name.contains(".yaml")
}

fn is_named_requirements(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    ["requirements", "constraints"]
        .iter()
        .any(|word| name.to_lowercase().contains(word))
}

#[cfg(test)]
mod tests;
