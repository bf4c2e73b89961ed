//! Responsible for reading an environment.yml.

use std::path::{Path, PathBuf};

use condense_diagnostics::misspelt;

use rattler_conda_types::Channel;

use super::{
    EnvironmentSpec, Requested, channel,
    context::SpecContext,
    package::{is_named, match_spec, shown},
    pip,
    problem::Problem,
    selector::{self, Answer},
    yaml::{self, Node, Value},
};
use crate::{progress::Warning, secrets::without_secrets};

/// Channel that is used if the file names none.
const DEFAULT_CHANNEL: &str = "conda-forge";

/// Keys of an environment file.
const KEYS: [&str; 8] = [
    "category",
    "channels",
    "dependencies",
    "name",
    "pip-repositories",
    "platforms",
    "prefix",
    "variables",
];
/// Keys that do not change what is installed.
const WITHOUT_EFFECT: [&str; 3] = ["category", "name", "prefix"];
/// End of the message about a key that is not known. The hint for the error is found by this text.
const UNKNOWN_KEY: &str = "is not a key of an environment file";
/// Message about the key `pip:` in the first column.
const PIP_OUTSIDE: &str = "`pip:` is not below `dependencies:`, where it would be followed";

/// Returns the hint for the message of an error about a key.
pub(crate) fn hint_about_key(message: &str) -> Option<String> {
    if message == PIP_OUTSIDE {
        return Some("write `- pip:` as an entry of `dependencies:`".to_owned());
    }
    let (given, rest) = message.strip_prefix('`')?.split_once(":` ")?;
    let meant = misspelt(given, KEYS).filter(|_| rest == UNKNOWN_KEY)?;
    Some(format!("did you mean `{meant}:`?"))
}

/// Reader of one file: its text, the context for reading it, and the spec that is filled.
struct Reader<'a> {
    text: &'a str,
    folder: &'a Path,
    context: &'a SpecContext,
    spec: EnvironmentSpec,
}

/// Reads the text of an environment.yml in the directory `folder`.
pub(super) fn read(
    text: &str,
    folder: &Path,
    context: &SpecContext,
) -> Result<EnvironmentSpec, Problem> {
    let root = yaml::parse(text)?;
    let Value::Mapping(pairs) = &root.value else {
        let message = format!(
            "expected a mapping with `channels:` and `dependencies:`, found {}",
            root.kind()
        );
        return Err(root.problem(message));
    };
    let mut reader = Reader {
        text,
        folder,
        context,
        spec: EnvironmentSpec {
            text: text.to_owned(),
            ..EnvironmentSpec::default()
        },
    };
    let mut dependencies = None;
    for (key, value) in pairs {
        let Value::Scalar(name) = &key.value else {
            return Err(key.problem(format!("expected a key, found {}", key.kind())));
        };
        match name.as_str() {
            "channels" => reader.channels(value)?,
            "dependencies" => dependencies = Some(value),
            "variables" => reader.variables(value)?,
            "platforms" => reader.platforms(value)?,
            "pip-repositories" => reader.pip_repositories(value)?,
            "category" if matches!(value.value, Value::Scalar(_)) => {}
            "name" | "prefix" => {}
            _ => reader.unknown_key(name, key)?,
        }
    }
    let Some(dependencies) = dependencies else {
        return Err(no_dependencies(&root, pairs));
    };
    for entry in reader.entries(dependencies, "`dependencies:`")? {
        reader.dependency(&entry)?;
    }
    let mut spec = reader.spec;
    if spec.specs.is_empty() && spec.pip.lines.is_empty() {
        return Err(dependencies.problem("`dependencies:` is empty, there is nothing to install"));
    }
    complete(&mut spec, folder);
    Ok(spec)
}

fn no_dependencies(root: &Node, pairs: &[(Node, Node)]) -> Problem {
    let has = |wanted: &str| {
        pairs
            .iter()
            .any(|(key, _)| matches!(&key.value, Value::Scalar(name) if name == wanted))
    };
    let is_lock = has("version")
        && ["package", "packages", "environments"]
            .map(has)
            .contains(&true);
    root.problem(if is_lock {
        "this is a lock file, expected an environment.yml with a `dependencies:` list"
    } else {
        "there is no `dependencies:` list"
    })
}

/// Adds the package `pip` if there are lines for pip and the file does not request it.
pub(super) fn ensure_pip(spec: &mut EnvironmentSpec) {
    let has_pip = spec
        .specs
        .iter()
        .any(|requested| is_named(&requested.spec, "pip"));
    if spec.pip.lines.is_empty() || has_pip {
        return;
    }
    spec.warnings.push(Warning::PipAdded);
    let pip = match_spec("pip", Path::new("/")).expect("`pip` is a valid match spec");
    spec.specs.push(Requested {
        spec: pip,
        written: "pip".to_owned(),
    });
}

/// Adds everything that the file implies: the default channel if it names none, `pip` for pip's
/// packages, and the channels of single packages.
pub(super) fn complete(spec: &mut EnvironmentSpec, folder: &Path) {
    ensure_pip(spec);
    let each_names_its_own = spec
        .specs
        .iter()
        .all(|requested| requested.spec.channel.is_some() || is_named(&requested.spec, "pip"));
    if spec.channels.is_empty() && !each_names_its_own {
        spec.warnings.push(Warning::NoChannel {
            used: DEFAULT_CHANNEL.to_owned(),
        });
        let channel = channel::channel(DEFAULT_CHANNEL, folder).expect("its name is a valid one");
        spec.channels.push(channel);
    }
    // A spec with its own channel (`channel::package`) can be found only if that channel is
    // searched, too.
    let of_specs: Vec<Channel> = spec
        .specs
        .iter()
        .filter_map(|requested| requested.spec.channel.as_deref().cloned())
        .collect();
    for channel in of_specs {
        if !spec
            .channels
            .iter()
            .any(|known| known.base_url == channel.base_url)
        {
            spec.channels.push(channel);
        }
    }
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

/// Returns the node that a comment at the end of an entry's first line follows: the scalar, or the
/// key of `- pip:`.
fn anchor(node: &Node) -> &Node {
    match &node.value {
        Value::Mapping(pairs) => pairs.first().map_or(node, |(key, _)| key),
        _ => node,
    }
}

impl Reader<'_> {
    /// Returns the entries of a list that are meant for the target, according to their selectors.
    fn entries(&mut self, node: &Node, what: &str) -> Result<Vec<Node>, Problem> {
        let entries = sequence(node, what)?.iter();
        Ok(entries
            .filter(|entry| self.is_meant(anchor(entry)))
            .cloned()
            .collect())
    }

    fn is_meant(&mut self, node: &Node) -> bool {
        let Some(selector) = selector::find(node.rest(self.text)) else {
            return true;
        };
        let answer = selector::answer(selector, self.context.architecture);
        self.follow(answer, selector, node)
    }

    fn follow(&mut self, answer: Answer, selector: &str, node: &Node) -> bool {
        let what = match &node.value {
            Value::Scalar(text) => without_secrets(text).into_owned(),
            _ => node.kind().to_owned(),
        };
        let message = match answer {
            Answer::Yes | Answer::NoSelector => return true,
            Answer::No => format!("`{what}` is left out, it is for `[{selector}]`"),
            Answer::Unknown => {
                format!(
                    "`{what}` is kept: whether `[{selector}]` holds is not known before solving"
                )
            }
        };
        self.spec
            .warnings
            .push(Warning::at_line(node.line, message));
        answer == Answer::Unknown
    }

    /// Refuses a key that has no meaning but is evidently meant to change the environment. Any
    /// other key without a meaning is only named.
    fn unknown_key(&mut self, name: &str, key: &Node) -> Result<(), Problem> {
        if name == "pip" {
            return Err(key.problem(PIP_OUTSIDE));
        }
        if misspelt(name, KEYS).is_some_and(|meant| !WITHOUT_EFFECT.contains(&meant)) {
            return Err(key.problem(format!("`{name}:` {UNKNOWN_KEY}")));
        }
        self.spec.warnings.push(Warning::UnknownKey {
            file: PathBuf::new(),
            key: name.to_owned(),
            line: key.line,
        });
        Ok(())
    }

    fn channels(&mut self, node: &Node) -> Result<(), Problem> {
        let entries = if let Value::Scalar(_) = node.value {
            vec![node.clone()]
        } else {
            self.entries(node, "`channels:`")?
        };
        for entry in entries {
            let Value::Scalar(text) = &entry.value else {
                return Err(entry.problem(format!(
                    "expected a channel's name or URL, found {}",
                    entry.kind()
                )));
            };
            let channels = channel::channels(text, self.folder, self.context)
                .map_err(|error| entry.problem(error))?;
            for channel in channels {
                if !self
                    .spec
                    .channels
                    .iter()
                    .any(|known| known.base_url == channel.base_url)
                {
                    self.spec.channels.push(channel);
                }
            }
        }
        Ok(())
    }

    /// Reads `platforms:`, conda-lock's list of the platforms that a file is for.
    fn platforms(&mut self, node: &Node) -> Result<(), Problem> {
        let ours = self.context.architecture.subdir().as_str();
        let mut names = Vec::new();
        for entry in self.entries(node, "`platforms:`")? {
            let Value::Scalar(name) = entry.value else {
                return Err(entry.problem(format!(
                    "expected a platform like `{ours}`, found {}",
                    entry.kind()
                )));
            };
            names.push(name);
        }
        if !names.is_empty() && !names.iter().any(|name| name == ours) {
            self.spec.warnings.push(Warning::at_line(
                node.line,
                format!(
                    "the file is for {}, here it is used for {ours}",
                    names.join(", ")
                ),
            ));
        }
        Ok(())
    }

    /// Reads `pip-repositories:`, conda-lock's list of further package indices for pip.
    fn pip_repositories(&mut self, node: &Node) -> Result<(), Problem> {
        for entry in self.entries(node, "`pip-repositories:`")? {
            let Value::Scalar(url) = &entry.value else {
                return Err(entry.problem(format!(
                    "expected the URL of an index for pip, found {}",
                    entry.kind()
                )));
            };
            let url = self
                .context
                .expand(url)
                .map_err(|error| entry.problem(error))?;
            self.pip_entry(&format!("--extra-index-url {url}"), &entry)?;
        }
        Ok(())
    }

    fn variables(&mut self, node: &Node) -> Result<(), Problem> {
        let pairs = match &node.value {
            Value::Mapping(pairs) => pairs,
            Value::Null => return Ok(()),
            _ => {
                return Err(node.problem(format!(
                    "`variables:` must be a mapping (`NAME: value`), found {}",
                    node.kind()
                )));
            }
        };
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
            let last = if matches!(value.value, Value::Null) {
                key
            } else {
                value
            };
            if self.is_meant(last) {
                self.spec.variables.push((name.clone(), text));
            }
        }
        Ok(())
    }

    fn dependency(&mut self, node: &Node) -> Result<(), Problem> {
        match &node.value {
            Value::Scalar(text) => self.package(text, node),
            Value::Mapping(pairs) => {
                for (key, value) in pairs {
                    self.section(key, value)?;
                }
                Ok(())
            }
            _ => Err(node.problem(format!(
                "expected a package spec or `pip:`, found {}",
                node.kind()
            ))),
        }
    }

    fn package(&mut self, text: &str, node: &Node) -> Result<(), Problem> {
        let parsed = match_spec(text, self.folder).map_err(|error| {
            let text = shown(text);
            node.problem(format!("`{text}` is not a package spec: {error}"))
        })?;
        self.spec.specs.push(Requested {
            spec: parsed,
            written: without_secrets(text).into_owned(),
        });
        Ok(())
    }

    /// Reads a mapping in `dependencies:`: either `pip:` with its list, or micromamba's
    /// `sel(linux): package`.
    fn section(&mut self, key: &Node, value: &Node) -> Result<(), Problem> {
        let Value::Scalar(name) = &key.value else {
            return Err(key.problem("expected a package spec or `pip:`"));
        };
        if let Some(selector) = name
            .strip_prefix("sel(")
            .and_then(|rest| rest.strip_suffix(')'))
        {
            let answer = selector::answer(selector, self.context.architecture);
            if answer == Answer::NoSelector {
                return Err(key.problem(format!("`{selector}` is no platform")));
            }
            let Value::Scalar(text) = &value.value else {
                return Err(
                    value.problem(format!("expected a package spec, found {}", value.kind()))
                );
            };
            return if self.follow(answer, selector, value) {
                self.package(text, value)
            } else {
                Ok(())
            };
        }
        if name != "pip" {
            return Err(key.problem(format!(
                "`{name}:` is not a kind of dependency, only `pip:` is (a missing blank after the package's name reads like this too)"
            )));
        }
        for entry in self.entries(value, "`pip:`")? {
            let Value::Scalar(text) = &entry.value else {
                return Err(entry.problem(format!(
                    "expected a requirement for pip, found {}",
                    entry.kind()
                )));
            };
            self.pip_entry(text, &entry)?;
        }
        Ok(())
    }

    fn pip_entry(&mut self, text: &str, node: &Node) -> Result<(), Problem> {
        let before = self.spec.pip.written.len();
        let mut reader = pip::Reader {
            section: &mut self.spec.pip,
            folder: self.folder,
            context: self.context,
        };
        reader
            .add_entry(text)
            .map_err(|problem| match problem.file {
                // A mistake in an included file is reported for that file.
                Some(_) => problem,
                None if node.is_block => {
                    Problem::new(node.line + problem.line - 1, 0, problem.message)
                }
                None => node.problem(problem.message),
            })?;
        if self.spec.pip.written.len() == before {
            return Err(node.problem("expected a requirement for pip, found nothing"));
        }
        Ok(())
    }
}
