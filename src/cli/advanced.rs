//! Responsible for `advanced`: a file with keys of Tykky's configuration becomes the words of
//! `new`, and one more layer of the site's configuration.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::Args;
use serde_yaml::{Mapping, Value};

use super::build::{InlineScripts, given_text};
use condense_build::plan::GivenText;
use condense_catalogue::{expand, is_default, is_of_site, yes_or_no};
use condense_diagnostics::UserError;
use condense_env_vars::EnvVars;

#[derive(Debug, Args)]
pub(super) struct AdvancedArguments {
    /// YAML with keys of Tykky's configuration: env_file or requirements_file,
    /// installation_prefix, container_src, mamba, use_uv, pipcache, pyver,
    /// enable_site_packages, wrapper_paths, pre_install, post_install, extra_envs, and a site's
    #[arg(value_name = "yaml")]
    file: PathBuf,
    /// replace an installation that is already there
    #[arg(long)]
    force: bool,
    /// show what would be done and stop
    #[arg(long)]
    dry_run: bool,
}

/// For which of the two commands a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Conda,
    Pip,
}

/// What a file comes to.
#[derive(Debug)]
pub(super) struct Advanced {
    /// The whole command line of `new`.
    pub(super) argv: Vec<OsString>,
    /// The file, and what of it is a site's.
    pub(super) configuration: (PathBuf, String),
    /// Commands, and files of them.
    pub(super) given: InlineScripts,
}

/// Reads the file that the user names.
///
/// # Errors
/// When it cannot be read, or has a key that is not followed; nothing of it is passed over.
pub(super) fn read(
    arguments: &AdvancedArguments,
    command: For,
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
    let mut words = Words {
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
        // Tykky's own files have the keys of all its commands. A key that asks for what is done
        // anyway is skipped.
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
            For::Conda => "env_file",
            For::Pip => "requirements_file",
        };
        bail!("`{shown}` does not say what to install: it has no `{missing}`");
    };
    let mut options = words.options;
    for (flag, is_set) in [
        ("--force", arguments.force),
        ("--dry-run", arguments.dry_run),
    ] {
        if is_set {
            options.push(flag.into());
        }
    }
    // Behind `--`, whatever it begins with.
    options.extend(["--".into(), file.into()]);
    let configuration = Mapping::from_iter([("defaults".into(), of_site.into())]);
    Ok(Advanced {
        argv: options,
        configuration: (path, serde_yaml::to_string(&configuration)?),
        given: words.given,
    })
}

/// `FILE:LINE` of a key, as far as it begins a line.
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

struct Words<'a> {
    command: For,
    env_vars: &'a EnvVars,
    options: Vec<OsString>,
    /// The file that is read.
    yaml: &'a Path,
    given: InlineScripts,
    /// Every file that was named.
    inputs: Vec<String>,
    file: Option<String>,
}

impl Words<'_> {
    fn take(&mut self, key: &str, value: &Value) -> anyhow::Result<()> {
        let is_pip = self.command == For::Pip;
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
            // What Tykky's own front ends write for a new installation.
            "update_installation" if yes_or_no(value) == Some(false) => {}
            // Looked at when all files are known.
            "installation_file_paths" => {}
            _ => bail!(UserError::new(
                "this key is not followed",
                "take it out, or use the options of `new`",
            )),
        }
        Ok(())
    }

    /// Returns whether the command has an option for this key.
    fn takes(&self, key: &str) -> bool {
        let is_pip = self.command == For::Pip;
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

    /// Adds the flag where the value is the one that it stands for.
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

    /// Of a list of commands and files, one text, in their order.
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

    /// Files that the build would need are shown to it because they are named elsewhere; others
    /// would be missing.
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

/// Whether a mapping has these keys and no others.
fn is_of(value: &Value, keys: &[&str]) -> bool {
    value.as_mapping().is_some_and(|mapping| {
        mapping.len() == keys.len() && keys.iter().all(|key| mapping.contains_key(*key))
    })
}

/// One variable, as a line for common.sh: what its value refers to is looked up at each start.
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
