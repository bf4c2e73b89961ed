//! Responsible for what a user asks for: environment.yml read into channels, match specs, pip requirements and
//! variables, each with the place where it stood.
//!
//! Read: `channels` (names, URLs, `file://`, paths relative to the file, `nodefaults`), `dependencies` (match specs and
//! one `pip:` list), `variables`. `name` and `prefix` are ignored, as the tools we replace do; other keys give a
//! [`Warning`].

mod yaml;

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use rattler_conda_types::{
    Channel, ChannelConfig, MatchSpec, NamedChannelOrUrl, PackageNameMatcher,
    ParseMatchSpecOptions, StringMatcher,
};
use sha2::{Digest, Sha256};

use crate::{
    error::Error,
    progress::Warning,
    secrets::{url_without_secrets, without_secrets},
};
use yaml::{Node, Problem, Value};

/// What the user asked for, unresolved.
#[derive(Debug, Clone)]
pub struct EnvironmentSpec {
    pub(crate) channels: Vec<Channel>,
    pub(crate) specs: Vec<Requested>,
    pip: Vec<String>,
    variables: Vec<(String, String)>,
    warnings: Vec<Warning>,
    text: String,
}

/// One conda line with the place where it stood.
#[derive(Debug, Clone)]
pub(crate) struct Requested {
    pub(crate) spec: MatchSpec,
    pub(crate) written: String,
}

/// Where packages come from when the file names no channel.
const DEFAULT_CHANNEL: &str = "conda-forge";

impl EnvironmentSpec {
    /// Reads an environment.yml.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Spec`] with line and column when it cannot be understood.
    pub fn load(file: &Path) -> Result<Self, Error> {
        let bytes = fs_err::read(file).map_err(Error::io("read", file))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            Error::Spec {
                file: file.to_owned(),
                line,
                column: 0,
                message: "not UTF-8 text".to_owned(),
            }
        })?;
        let folder = match file.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let folder = fs_err::canonicalize(&folder).map_err(Error::io("resolve", &folder))?;
        Self::parse(&text, file, &folder)
    }

    /// Parses the text of an environment.yml; `file` is named in errors, relative channels start at `folder`.
    ///
    /// # Errors
    /// [`Error::Spec`] with line and column.
    ///
    /// # Examples
    /// ```
    /// use std::path::Path;
    /// let text = "channels: [conda-forge]\ndependencies:\n  - numpy <2\n  - pip:\n      - rich\n";
    /// let spec = condense_prefix::EnvironmentSpec::parse(text, Path::new("env.yml"), Path::new("/")).unwrap();
    /// assert_eq!(spec.conda_specs().collect::<Vec<_>>(), ["numpy <2", "pip"]);
    /// assert_eq!(spec.pip(), ["rich"]);
    /// ```
    pub fn parse(text: &str, file: &Path, folder: &Path) -> Result<Self, Error> {
        read(text, folder).map_err(
            |Problem {
                 line,
                 column,
                 message,
             }| Error::Spec {
                file: file.to_owned(),
                line,
                column,
                message,
            },
        )
    }

    /// The conda lines as written, in the order of the file; a `pip` that was added stands last.
    pub fn conda_specs(&self) -> impl Iterator<Item = &str> {
        self.specs
            .iter()
            .map(|requested| requested.written.as_str())
    }

    /// The lines under `pip:`, as written.
    pub fn pip(&self) -> &[String] {
        &self.pip
    }

    /// `variables:` in the order of the file.
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// Channel URLs without credentials, by priority.
    pub fn channels(&self) -> Vec<String> {
        self.channels
            .iter()
            .map(|channel| url_without_secrets(channel.base_url.as_ref()))
            .collect()
    }

    /// True when the file's channels are not its own.
    pub(crate) fn names_no_channel(&self) -> bool {
        let no_channel = |warning: &Warning| matches!(warning, Warning::NoChannel { .. });
        self.warnings.iter().any(no_channel)
    }

    /// Somebody else has said which channels there are.
    pub(crate) fn forget_no_channel(&mut self) {
        self.warnings
            .retain(|warning| !matches!(warning, Warning::NoChannel { .. }));
    }

    /// True when the user wants no channels but those of the file.
    pub(crate) fn says_nodefaults(&self) -> bool {
        self.text.lines().any(|line| {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split(|c: char| c.is_whitespace() || ",[]'\"".contains(c));
            words.any(|word| word == "nodefaults")
        })
    }

    /// What was read but not followed.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The file's text without credentials, fit to be kept with the installation.
    pub fn text(&self) -> Cow<'_, str> {
        without_secrets(&self.text)
    }

    /// What stands for the environment file where a lock says everything.
    pub(crate) fn of_lock(text: &str, variables: Vec<(String, String)>) -> Self {
        Self {
            channels: Vec::new(),
            specs: Vec::new(),
            pip: Vec::new(),
            variables,
            warnings: Vec::new(),
            text: text.to_owned(),
        }
    }

    /// Digest of the variables alone.
    pub(crate) fn digest_of_variables(&self) -> [u8; 32] {
        Self::of_lock("", self.variables.clone()).digest_beyond_conda()
    }

    /// Digest of what the file means beyond its conda packages: pip lines and variables.
    pub(crate) fn digest_beyond_conda(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for line in &self.pip {
            hash.update(line.as_bytes());
            hash.update([0]);
        }
        for (name, value) in &self.variables {
            hash.update([1]);
            hash.update(name.as_bytes());
            hash.update([0]);
            hash.update(value.as_bytes());
        }
        hash.finalize().into()
    }
}

fn read(text: &str, folder: &Path) -> Result<EnvironmentSpec, Problem> {
    let root = yaml::parse(text)?;
    let Value::Mapping(pairs) = &root.value else {
        let message = format!(
            "expected a mapping with `channels:` and `dependencies:`, found {}",
            root.kind()
        );
        return Err(root.problem(message));
    };
    let config = ChannelConfig::default_with_root_dir(folder.to_owned());
    let mut spec = EnvironmentSpec {
        channels: Vec::new(),
        specs: Vec::new(),
        pip: Vec::new(),
        variables: Vec::new(),
        warnings: Vec::new(),
        text: text.to_owned(),
    };
    let mut dependencies = None;
    for (key, value) in pairs {
        let Value::Scalar(name) = &key.value else {
            return Err(key.problem(format!("expected a key, found {}", key.kind())));
        };
        match name.as_str() {
            "channels" => spec.channels = channels(value, &config)?,
            "dependencies" => dependencies = Some(value),
            "variables" => spec.variables = variables(value)?,
            "name" | "prefix" => {}
            _ => spec.warnings.push(Warning::UnknownKey {
                key: name.clone(),
                line: key.line,
            }),
        }
    }
    let Some(dependencies) = dependencies else {
        return Err(root.problem("there is no `dependencies:` list"));
    };
    for entry in sequence(dependencies, "`dependencies:`")? {
        dependency(entry, &mut spec)?;
    }
    if spec.specs.is_empty() && spec.pip.is_empty() {
        return Err(dependencies.problem("`dependencies:` is empty, there is nothing to install"));
    }
    if !spec.pip.is_empty()
        && !spec
            .specs
            .iter()
            .any(|requested| is_named(&requested.spec, "pip"))
    {
        spec.warnings.push(Warning::PipAdded);
        let pip = match_spec("pip").expect("`pip` is a valid match spec");
        spec.specs.push(Requested {
            spec: pip,
            written: "pip".to_owned(),
        });
    }
    if spec.channels.is_empty() {
        spec.warnings.push(Warning::NoChannel {
            used: DEFAULT_CHANNEL.to_owned(),
        });
        spec.channels
            .push(Channel::from_name(DEFAULT_CHANNEL, &config));
    }
    // A spec with a channel of its own (`channel::package`) is never found unless that channel is asked too.
    for requested in &spec.specs {
        if let Some(channel) = &requested.spec.channel
            && !spec
                .channels
                .iter()
                .any(|known| known.base_url == channel.base_url)
        {
            spec.channels.push(channel.as_ref().clone());
        }
    }
    Ok(spec)
}

fn sequence<'a>(node: &'a Node, what: &str) -> Result<&'a [Node], Problem> {
    match &node.value {
        Value::Sequence(items) => Ok(items),
        Value::Null => Ok(&[]),
        _ => Err(node.problem(format!(
            "{what} must be a list (`- …`), found {}",
            node.kind()
        ))),
    }
}

fn channels(node: &Node, config: &ChannelConfig) -> Result<Vec<Channel>, Problem> {
    let single;
    let items = if let Value::Scalar(_) = node.value {
        single = [node.clone()];
        &single[..]
    } else {
        sequence(node, "`channels:`")?
    };
    let mut channels = Vec::new();
    for item in items {
        let Value::Scalar(text) = &item.value else {
            return Err(item.problem(format!(
                "expected a channel's name or URL, found {}",
                item.kind()
            )));
        };
        // A keyword, not a channel: conda's own defaults are never added here.
        if text == "nodefaults" {
            continue;
        }
        let channel: Result<Channel, String> = text
            .parse::<NamedChannelOrUrl>()
            .map_err(|error| error.to_string())
            .and_then(|named| {
                named
                    .into_channel(config)
                    .map_err(|error| error.to_string())
            });
        channels.push(
            channel.map_err(|error| item.problem(format!("`{text}` is not a channel: {error}")))?,
        );
    }
    Ok(channels)
}

fn variables(node: &Node) -> Result<Vec<(String, String)>, Problem> {
    let pairs = match &node.value {
        Value::Mapping(pairs) => pairs,
        Value::Null => return Ok(Vec::new()),
        _ => {
            return Err(node.problem(format!(
                "`variables:` must be a mapping (`NAME: value`), found {}",
                node.kind()
            )));
        }
    };
    let mut variables = Vec::new();
    for (key, value) in pairs {
        let Value::Scalar(name) = &key.value else {
            return Err(key.problem("expected the name of a variable"));
        };
        let valid = name.bytes().enumerate().all(|(at, byte)| {
            byte == b'_' || byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit())
        });
        if !valid || name.is_empty() {
            return Err(key.problem(format!(
                "`{name}` is not a name for an environment variable"
            )));
        }
        let text = match &value.value {
            Value::Scalar(text) => text.clone(),
            Value::Null => String::new(),
            _ => {
                return Err(value.problem(format!(
                    "expected the value of `{name}`, found {}",
                    value.kind()
                )));
            }
        };
        if text.contains('\0') {
            return Err(value.problem(format!("the value of `{name}` holds a NUL byte")));
        }
        variables.push((name.clone(), text));
    }
    Ok(variables)
}

fn dependency(node: &Node, spec: &mut EnvironmentSpec) -> Result<(), Problem> {
    match &node.value {
        Value::Scalar(text) => {
            let parsed = match_spec(text).map_err(|error| {
                node.problem(format!("`{text}` is not a package spec: {error}"))
            })?;
            spec.specs.push(Requested {
                spec: parsed,
                written: text.clone(),
            });
            Ok(())
        }
        Value::Mapping(pairs) => {
            for (key, value) in pairs {
                let Value::Scalar(name) = &key.value else {
                    return Err(key.problem("expected a package spec or `pip:`"));
                };
                if name != "pip" {
                    return Err(key.problem(format!(
                        "`{name}:` is not a kind of dependency, only `pip:` is (a missing blank after the package's name reads like this too)"
                    )));
                }
                for line in sequence(value, "`pip:`")? {
                    let Value::Scalar(text) = &line.value else {
                        return Err(line.problem(format!(
                            "expected a requirement for pip, found {}",
                            line.kind()
                        )));
                    };
                    spec.pip
                        .push(pip_line(text).map_err(|error| line.problem(error))?);
                }
            }
            Ok(())
        }
        _ => Err(node.problem(format!(
            "expected a package spec or `pip:`, found {}",
            node.kind()
        ))),
    }
}

/// Requirements by name, version and URL pass; what needs more of pip is refused by name until it is supported.
fn pip_line(text: &str) -> Result<String, String> {
    let line = text.trim();
    if line.is_empty() || line.contains('\n') {
        return Err("expected one requirement for pip on one line".to_owned());
    }
    if line.starts_with('-') {
        let option = line.split([' ', '=']).next().unwrap_or(line);
        return Err(format!(
            "`{option}` under `pip:` is not supported by this version, only plain requirements are"
        ));
    }
    if line.starts_with('.') || line.starts_with('/') {
        return Err(format!(
            "`{line}`: local paths under `pip:` are not supported by this version"
        ));
    }
    Ok(line.to_owned())
}

fn match_spec(text: &str) -> Result<MatchSpec, String> {
    // Lenient as conda is (`numpy=1.26`, `python 3.11.*`); what lenience lets through beyond conda is caught below.
    let spec = MatchSpec::from_str(text, ParseMatchSpecOptions::lenient())
        .map_err(|error| describe(&error))?;
    if let Some(build) = &spec.build {
        let text = match build {
            StringMatcher::Regex(_) => String::new(),
            other => other.to_string(),
        };
        let odd = |byte: char| !(byte.is_ascii_alphanumeric() || "_.+-*|!".contains(byte));
        if let Some(found) = text.chars().find(|byte| odd(*byte)) {
            return Err(format!(
                "`{found}` cannot stand in the build string `{text}`"
            ));
        }
    }
    Ok(spec)
}

fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn is_named(spec: &MatchSpec, name: &str) -> bool {
    matches!(&spec.name, PackageNameMatcher::Exact(exact) if exact.as_normalized() == name)
}

#[cfg(test)]
mod tests;
