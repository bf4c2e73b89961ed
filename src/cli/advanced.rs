//! Responsible for the verb `advanced`. It turns a file with keys of Tykky's configuration into the
//! arguments of `new` and one more layer of the site's configuration.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::Args;
use serde_yaml::{Mapping, Value};

use super::{
    build::{InlineScripts, given_text},
    dry_run::DryRunArguments,
};
use condense_build::plan::GivenText;
use condense_catalogue::{expand, is_default, is_of_site, yes_or_no};
use condense_diagnostics::{UserError, did_you_mean};
use condense_env_vars::EnvVars;

#[derive(Debug, Args)]
pub(super) struct AdvancedArguments {
    /// YAML file with keys of Tykky's configuration: env_file or requirements_file,
    /// installation_prefix, container_src, mamba, use_uv, pipcache, pyver, enable_site_packages,
    /// wrapper_paths, pre_install, post_install, extra_envs, and the keys of a site
    #[arg(value_name = "yaml")]
    file: PathBuf,
    /// replace an existing installation
    #[arg(long)]
    force: bool,
    /// programs do not see the user's own Python packages in ~/.local; CONDENSE_NO_USER_SITE=0 at a
    /// start shows them again
    #[arg(long)]
    no_user_site: bool,
    #[command(flatten)]
    dry_run: DryRunArguments,
}

/// Command for which a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TargetCommand {
    Conda,
    Pip,
}

/// Result of reading a file.
#[derive(Debug)]
pub(super) struct Advanced {
    /// Command line of `new`, with the name of the program.
    pub(super) argv: Vec<OsString>,
    /// Path of the file, and its keys of a site as a configuration in Tykky's format.
    pub(super) configuration: (PathBuf, String),
    /// Texts of `pre_install`, `post_install` and `extra_envs`.
    pub(super) given: InlineScripts,
}

/// Reads the file that the user has named.
///
/// # Errors
/// Returns an error if the file cannot be read, or if it has a key that is not followed. No key is
/// silently ignored, unless its value is the behaviour of this program anyway.
pub(super) fn read(
    arguments: &AdvancedArguments,
    command: TargetCommand,
    program: &str,
    env_vars: &EnvVars,
) -> anyhow::Result<Advanced> {
    let path = env_vars.cwd.join(&arguments.file);
    let shown = arguments.file.display();
    let text = condense_input::read_named_to_string(&path, condense_input::TEXT_MOST)?;
    let root: Value =
        serde_yaml::from_str(&text).with_context(|| format!("`{shown}` cannot be read"))?;
    let Some(root) = root.as_mapping() else {
        bail!("`{shown}` is not a mapping of keys and values")
    };
    let mut words = ArgumentBuilder {
        command,
        env_vars,
        options: vec![program.into(), "new".into()],
        yaml: &arguments.file,
        inputs: Vec::new(),
        given: InlineScripts::default(),
        file: None,
    };
    let mut of_site = Mapping::new();
    for (key, value) in root {
        let Some(name) = key.as_str() else {
            bail!("`{shown}` has a key that is not a text")
        };
        if value.is_null() {
            continue;
        }
        // Tykky's own files have the keys of all its commands. A key is skipped if its value is the
        // behaviour of this program anyway.
        if !words.takes(name) && is_default(name, value) {
            continue;
        }
        if name != "mode" && is_of_site(name) {
            of_site.insert(key.clone(), value.clone());
            continue;
        }
        words
            .take(name, value)
            .with_context(|| format!("{}: `{name}`", place(&arguments.file, &text, name)))?;
    }
    words
        .check_inputs(root)
        .with_context(|| place(&arguments.file, &text, "installation_file_paths"))?;
    let Some(file) = words.file else {
        let missing = match command {
            TargetCommand::Conda => "env_file",
            TargetCommand::Pip => "requirements_file",
        };
        bail!("`{shown}` does not say what to install: it has no `{missing}`");
    };
    let mut options = words.options;
    for (flag, is_set) in [
        ("--force", arguments.force),
        ("--dry-run", arguments.dry_run.dry_run),
        ("--json", arguments.dry_run.json),
        ("--no-user-site", arguments.no_user_site),
    ] {
        if is_set {
            options.push(flag.into());
        }
    }
    options.extend(arguments.dry_run.submit.words());
    // The file follows `--`, because its name may begin with a hyphen.
    options.extend(["--".into(), file.into()]);
    let configuration = Mapping::from_iter([("defaults".into(), of_site.into())]);
    Ok(Advanced {
        argv: options,
        configuration: (path, serde_yaml::to_string(&configuration)?),
        given: words.given,
    })
}

/// Returns `FILE:LINE` of a key, or `FILE` if no line begins with the key.
fn place(file: &Path, text: &str, key: &str) -> String {
    let is_its = |line: &str| {
        let rest = line.trim_start_matches(['"', '\'']).strip_prefix(key);
        rest.is_some_and(|rest| rest.trim_start_matches(['"', '\'', ' ']).starts_with(':'))
    };
    match text.lines().position(is_its) {
        Some(line) => format!("{}:{}", file.display(), line + 1),
        None => file.display().to_string(),
    }
}

struct ArgumentBuilder<'a> {
    command: TargetCommand,
    env_vars: &'a EnvVars,
    options: Vec<OsString>,
    /// Path of the file that is read.
    yaml: &'a Path,
    given: InlineScripts,
    /// Paths of all files that the keys have named.
    inputs: Vec<String>,
    file: Option<String>,
}

/// Keys of the files, besides those of a site.
const KEYS: [&str; 12] = [
    "enable_site_packages",
    "env_file",
    "extra_envs",
    "installation_prefix",
    "mamba",
    "pipcache",
    "post_install",
    "pre_install",
    "pyver",
    "requirements_file",
    "use_uv",
    "wrapper_paths",
];

impl ArgumentBuilder<'_> {
    /// Returns the keys that the user may have meant.
    fn known_keys(&self) -> impl Iterator<Item = &'static str> {
        let own = KEYS.into_iter().filter(|key| self.takes(key));
        own.chain(condense_catalogue::site_keys())
    }

    fn take(&mut self, key: &str, value: &Value) -> anyhow::Result<()> {
        let is_pip = self.command == TargetCommand::Pip;
        match key {
            "mode" => {
                let expected = if is_pip { "venv" } else { "conda" };
                if self.text(value)? != expected {
                    bail!("this command makes `{expected}`");
                }
            }
            "env_file" if !is_pip => self.file = Some(self.input(value)?),
            "requirements_file" if is_pip => self.file = Some(self.input(value)?),
            "requirements_file" => self.option("--requirement", |words| words.input(value))?,
            "installation_prefix" => self.option("--prefix", |words| words.text(value))?,
            "mamba" if !is_pip => self.flag("--mamba", value, true)?,
            "use_uv" => self.flag("--uv", value, true)?,
            "pipcache" => self.flag("--nocache", value, false)?,
            "pyver" if is_pip => self.option("--pyver", |words| words.text(value))?,
            "enable_site_packages" if is_pip => {
                self.flag("--system-site-packages", value, true)?;
            }
            "wrapper_paths" => {
                let paths = self.texts(value)?;
                if !paths.is_empty() {
                    self.option("--wrapper-paths", |_| Ok(paths.join(",")))?;
                }
            }
            "pre_install" => self.given.pre_install = self.commands(key, value)?,
            "post_install" => self.given.post_install = self.commands(key, value)?,
            "extra_envs" => self.given.environ = self.commands(key, value)?,
            // Tykky's own programs write this for a new installation.
            "update_installation" if yes_or_no(value) == Some(false) => {}
            // Checked by `check_inputs` when all files are known.
            "installation_file_paths" => {}
            _ => bail!(UserError::new(
                "this key is not followed",
                did_you_mean(key, self.known_keys())
                    .unwrap_or_else(|| "take it out, or use the options of `new`".to_owned()),
            )),
        }
        Ok(())
    }

    /// Returns whether the command has an option for this key.
    fn takes(&self, key: &str) -> bool {
        let is_pip = self.command == TargetCommand::Pip;
        match key {
            "env_file" | "mamba" => !is_pip,
            "pyver" | "enable_site_packages" => is_pip,
            "mode"
            | "requirements_file"
            | "installation_prefix"
            | "use_uv"
            | "pipcache"
            | "wrapper_paths"
            | "pre_install"
            | "post_install"
            | "extra_envs"
            | "update_installation"
            | "installation_file_paths" => true,
            _ => is_of_site(key),
        }
    }

    fn option(
        &mut self,
        name: &str,
        value: impl FnOnce(&mut Self) -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        let value = value(self)?;
        self.options.push(format!("{name}={value}").into());
        Ok(())
    }

    /// Adds the flag if the value is equal to `when`.
    fn flag(&mut self, name: &str, value: &Value, when: bool) -> anyhow::Result<()> {
        let Some(is_set) = yes_or_no(value) else {
            bail!("expected `yes` or `no`")
        };
        if is_set == when {
            self.options.push(name.into());
        }
        Ok(())
    }

    fn text(&self, value: &Value) -> anyhow::Result<String> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => bail!("expected a text"),
        };
        let look = |name: &str| self.env_vars.get(name).map(str::to_owned);
        Ok(expand(&text, look))
    }

    fn texts(&self, value: &Value) -> anyhow::Result<Vec<String>> {
        match value {
            Value::Sequence(values) => values.iter().map(|value| self.text(value)).collect(),
            one => Ok(vec![self.text(one)?]),
        }
    }

    fn input(&mut self, value: &Value) -> anyhow::Result<String> {
        let path = self.text(value)?;
        self.inputs.push(path.clone());
        Ok(path)
    }

    /// Joins a list of commands and files into one text, in their order.
    fn commands(&mut self, key: &str, value: &Value) -> anyhow::Result<Option<GivenText>> {
        let values = match value {
            Value::Sequence(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        let mut text = String::new();
        let mut files = Vec::new();
        for (index, value) in values.iter().enumerate() {
            let file = value.get("file").filter(|_| is_of(value, &["file"]));
            if let Some(file) = file {
                let name = self.input(file)?;
                let given = given_text(Some(PathBuf::from(&name)), "File", self.env_vars)?;
                let given = given.expect("it was named");
                text.push_str(&given.text);
                files.push(given.path);
            } else if key == "extra_envs" {
                text.push_str(&variable(value).with_context(|| format!("entry {}", index + 1))?);
            } else if let Some(command) = value.as_str() {
                text.push_str(command);
            } else {
                bail!(UserError::new(
                    format!("entry {} is neither a command nor `file: FILE`", index + 1),
                    "an entry is one command in quotes, or names a file of them",
                ));
            }
            if !text.ends_with('\n') {
                text.push('\n');
            }
        }
        let path = match (values, &files[..]) {
            ([], _) => return Ok(None),
            ([_], [file]) => file.clone(),
            _ => self
                .env_vars
                .cwd
                .join(format!("{}:{key}", self.yaml.display())),
        };
        Ok(Some(GivenText { path, text }))
    }

    /// Checks `installation_file_paths`. Files that another key names are passed to the build; any
    /// other file would be missing there, so it is refused.
    fn check_inputs(&self, root: &Mapping) -> anyhow::Result<()> {
        let Some(value) = root.get("installation_file_paths") else {
            return Ok(());
        };
        if let Some(other) = self
            .texts(value)?
            .into_iter()
            .find(|path| !self.inputs.contains(path))
        {
            bail!(UserError::new(
                format!("`installation_file_paths` names `{other}`, which no other key does"),
                "scripts of the build see the host's files; take it out",
            ));
        }
        Ok(())
    }
}

/// Returns whether a value is a mapping with these keys and no others.
fn is_of(value: &Value, keys: &[&str]) -> bool {
    value.as_mapping().is_some_and(|mapping| {
        mapping.len() == keys.len() && keys.iter().all(|key| mapping.contains_key(*key))
    })
}

/// Returns a line for common.sh that sets a variable. Variables in its value are expanded each time
/// a program starts.
fn variable(value: &Value) -> anyhow::Result<String> {
    let text = |key: &str| match value.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let parts = (text("type"), text("name"), text("value"));
    let (Some(kind), Some(name), Some(value)) = parts else {
        bail!(UserError::new(
            "it is neither a variable nor `file: FILE`",
            "a variable has `type: set`, `append` or `prepend`, a `name` and a `value`",
        ));
    };
    let is_name = !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        bail!("`{name}` is not a name for a variable");
    }
    let value = value.replace('"', "\\\"");
    Ok(match kind.as_str() {
        "set" => format!("export {name}=\"{value}\"\n"),
        "append" => format!("export {name}=\"${name}:{value}\"\n"),
        "prepend" => format!("export {name}=\"{value}:${name}\"\n"),
        other => bail!("`type: {other}` is not `set`, `append` or `prepend`"),
    })
}
