//! Responsible for the verb `condense config`, which shows and changes the user's configuration.

mod file;
mod keys;

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;
use clap::{Args, Subcommand};
use condense_catalogue::{Catalogue, Site};
use condense_diagnostics::UserError;
use condense_env_vars::{self as env_vars, EnvVars};
use serde_json::{Value, json};
use toml_edit::Item;

use super::{
    Context,
    table::{Align, render},
};
use crate::cli::{network::config, site::SiteArguments};
use file::{edit, item_at, put, read, take, words_of};
use keys::{KEYS, Key, known_key};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show all keys with their values, and where each value comes from
    List(ListArguments),
    /// Print the value of a key
    Get(GetArguments),
    /// Write a value into the user's configuration file
    Set(SetArguments),
    /// Remove a key from the user's configuration file
    Unset(UnsetArguments),
}

#[derive(Debug, Args)]
struct ListArguments {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct GetArguments {
    /// Key, as `condense config list` shows it
    #[arg(value_name = "KEY", value_parser = known_key)]
    key: Key,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct SetArguments {
    /// Key, as `condense config list` shows it; `mirrors.URL` for the mirrors of a channel
    #[arg(value_name = "KEY", value_parser = known_key)]
    key: Key,
    /// Value; several for channels and mirrors
    #[arg(value_name = "VALUE", required = true)]
    values: Vec<String>,
}

#[derive(Debug, Args)]
struct UnsetArguments {
    /// Key, as `condense config list` shows it
    #[arg(value_name = "KEY", value_parser = known_key)]
    key: Key,
}

/// Value of a key that counts, and its source.
struct Setting {
    key: Key,
    values: Vec<String>,
    source: Source,
}

/// Source of a value.
enum Source {
    Variable(&'static str),
    File(PathBuf, usize),
    Site(String),
    BuiltIn,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Site(name) => write!(f, "site {name}"),
            Self::BuiltIn => f.write_str("built in"),
        }
    }
}

/// Returns the keys with their explanations, for completion.
pub(in crate::cli) fn configuration_keys() -> impl Iterator<Item = (String, String)> {
    let keys = KEYS.iter().map(keys::Entry::described);
    keys.map(|(name, about)| (name.to_owned(), about.to_owned()))
}

/// Shows or changes the configuration.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitCode> {
    let env_vars = context.env_vars;
    match &arguments.verb {
        Verb::List(list) => Settings::load(context)?.list(list.json, context),
        Verb::Get(get) => {
            let setting = Settings::load(context)?.of(&get.key);
            if setting.values.is_empty() {
                bail!(UserError::new(
                    format!("`{}` is not set", get.key.name),
                    format!("`condense config set {} VALUE` sets it", get.key.name),
                ));
            }
            if get.json {
                let mut value = json!({});
                merge(&mut value, as_json(&setting));
                context.console.json("config-get", value);
            } else {
                context.console.data(&setting.values.join("\n"));
            }
        }
        Verb::Set(set) => {
            let settings = Settings::load(context)?;
            let values = set.key.checked(&set.values, &settings, env_vars)?;
            let path = edit(env_vars, |document| put(document, &set.key, &values))?;
            let (name, path) = (&set.key.name, path.display());
            let values = values.join(", ");
            context
                .report
                .info(format!("`{name}` is now {values} in {path}"));
            warn_of_variable(&set.key, context);
        }
        Verb::Unset(unset) => {
            let mut was_set = false;
            let path = edit(env_vars, |document| {
                was_set = take(document, &unset.key);
                Ok(())
            })?;
            let words = if was_set { "removed from" } else { "not in" };
            let (name, path) = (&unset.key.name, path.display());
            context.report.info(format!("`{name}` is {words} {path}"));
            warn_of_variable(&unset.key, context);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Warns if a variable hides the configuration file.
fn warn_of_variable(key: &Key, context: &Context) {
    if let Some(name) = key.variable
        && context.env_vars.get_given(name).is_some()
    {
        let text = format!("the variable {name} is set and counts before the file");
        context.report.warning(text);
    }
}

/// Everything that values come from.
struct Settings<'a> {
    env_vars: &'a EnvVars,
    path: Option<PathBuf>,
    text: String,
    document: toml_edit::Document<String>,
    catalogue: Catalogue,
    site: Site,
}

impl<'a> Settings<'a> {
    fn load(context: &Context<'a>) -> anyhow::Result<Self> {
        let env_vars = context.env_vars;
        let path = config::path(env_vars);
        let text = read(path.as_deref())?;
        if let Some(path) = &path {
            config::parse(&text, path)?;
        }
        let document = toml_edit::Document::parse(text.clone())?;
        // A site that is misspelt in the file must not keep the user from correcting it.
        let arguments = SiteArguments::default();
        let loaded = arguments.load(env_vars, context.console).or_else(|_| {
            let local = SiteArguments {
                site: Some("local".to_owned()),
                ..SiteArguments::default()
            };
            local.load(env_vars, context.console)
        });
        let (catalogue, site) = loaded?;
        Ok(Self {
            env_vars,
            path,
            text,
            document,
            catalogue,
            site,
        })
    }

    /// Returns the value of a key that counts.
    fn of(&self, key: &Key) -> Setting {
        let setting = |values: Vec<String>, source| Setting {
            key: key.clone(),
            values,
            source,
        };
        if let Some(name) = key.variable
            && let Some(value) = self.env_vars.get_given(name)
        {
            let values = if key.is_list() {
                let words = value.split(',').map(str::trim);
                words.map(str::to_owned).collect()
            } else {
                vec![value.to_owned()]
            };
            return setting(values, Source::Variable(name));
        }
        let item = item_at(self.document.as_item(), &key.path);
        if let (Some(path), Some(item)) = (&self.path, item) {
            let start = item.span().map_or(0, |span| span.start);
            let line = self.text[..start].matches('\n').count() + 1;
            return setting(words_of(item), Source::File(path.clone(), line));
        }
        if let Some(value) = key.of_site(&self.site) {
            return setting(vec![value], Source::Site(self.site.name.clone()));
        }
        let value = key.built_in(self.env_vars, &self.site);
        setting(value.into_iter().collect(), Source::BuiltIn)
    }

    /// Returns the keys of this program, then one for each channel that has mirrors.
    fn keys(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = KEYS.iter().map(Key::from).collect();
        let mirrors = item_at(self.document.as_item(), &["mirrors".to_owned()]);
        if let Some(table) = mirrors.and_then(Item::as_table_like) {
            keys.extend(table.iter().map(|(url, _)| Key::mirrors_of(url)));
        }
        keys
    }

    /// Returns the files that are read, with their use.
    fn files(&self) -> Vec<(&'static str, PathBuf)> {
        let catalogue = self.env_vars.get(env_vars::CONDENSE_CATALOGUE);
        let catalogue = catalogue.map(|path| self.env_vars.cwd.join(path));
        let usual = self.env_vars.config_dir();
        let usual = usual.map(|dir| dir.join("condense/base-images.toml"));
        let condarc = self.env_vars.home().map(|home| home.join(".condarc"));
        let follows = self.env_vars.get(env_vars::CW_ENABLE_CONDARC).is_some();
        let files = [
            ("configuration", self.path.clone()),
            ("catalogue", catalogue.or(usual)),
            ("conda", condarc.filter(|_| follows)),
        ];
        let files = files.into_iter();
        files
            .filter_map(|(use_of, path)| Some((use_of, path?)))
            .collect()
    }

    fn list(&self, json: bool, context: &Context) {
        let settings: Vec<Setting> = self.keys().iter().map(|key| self.of(key)).collect();
        if json {
            let files = self.files().into_iter();
            let files = files.map(
                |(use_of, path)| json!({ "use": use_of, "path": path, "exists": path.exists() }),
            );
            let value = json!({
                "keys": settings.iter().map(as_json).collect::<Vec<_>>(),
                "files": files.collect::<Vec<_>>(),
            });
            context.console.json("config-list", value);
            return;
        }
        let mut rows = vec![["KEY", "VALUE", "FROM"].map(str::to_owned).to_vec()];
        for Setting {
            key,
            values,
            source,
        } in &settings
        {
            let value = match values.as_slice() {
                [] => "-".to_owned(),
                some => some.join(", "),
            };
            rows.push(vec![key.name.clone(), value, source.to_string()]);
        }
        context.console.data(&render(&[Align::Left; 3], &rows));
        for (use_of, path) in self.files() {
            let state = if path.exists() { "" } else { " (not there)" };
            let path = path.display();
            context.report.info(format!("{use_of}: {path}{state}"));
        }
    }
}

fn as_json(setting: &Setting) -> Value {
    let value = match setting.values.as_slice() {
        values if setting.key.is_list() => json!(values),
        [value] => json!(value),
        _ => Value::Null,
    };
    json!({
        "key": setting.key.name,
        "value": value,
        "from": setting.source.to_string(),
        "about": setting.key.about,
    })
}

/// Adds the members of an object to another.
fn merge(object: &mut Value, more: Value) {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
}
