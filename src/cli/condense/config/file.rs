//! Responsible for reading and changing the text of the configuration file, whose comments stay.

use std::path::{Path, PathBuf};

use anyhow::Context;
use condense_diagnostics::UserError;
use condense_env_vars::EnvVars;
use toml_edit::{DocumentMut, Item, Table, Value};

use super::keys::Key;
use crate::cli::network::config;

/// Returns the item at a path of keys.
pub(super) fn item_at<'a>(root: &'a Item, path: &[String]) -> Option<&'a Item> {
    let found = path
        .iter()
        .try_fold(root, |item, key| item.get(key.as_str()))?;
    (!found.is_none()).then_some(found)
}

/// Returns the text of a value, or the texts of a list.
pub(super) fn words_of(item: &Item) -> Vec<String> {
    let word = |value: &Value| match value.as_str() {
        Some(text) => text.to_owned(),
        None => value.clone().decorated("", "").to_string(),
    };
    match item.as_value() {
        Some(Value::Array(list)) => list.iter().map(word).collect(),
        Some(value) => vec![word(value)],
        None => Vec::new(),
    }
}

/// Reads the configuration file; a missing one is empty.
pub(super) fn read(path: Option<&Path>) -> anyhow::Result<String> {
    match path {
        Some(path) if path.exists() => {
            let text = condense_input::read_to_string(path, condense_input::TEXT_MOST);
            Ok(text?)
        }
        _ => Ok(String::new()),
    }
}

/// Changes the user's configuration file, and returns its path. Comments and order stay. The file
/// is replaced only if the new text is a valid configuration.
pub(super) fn edit(
    env_vars: &EnvVars,
    change: impl FnOnce(&mut DocumentMut) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let path = config::path(env_vars).ok_or_else(|| {
        UserError::new(
            "there is no home directory to keep a configuration in",
            "name a file with CONDENSE_CONFIG",
        )
    })?;
    // A file in a repository of settings is often linked to.
    let target = path.canonicalize().unwrap_or_else(|_| path.clone());
    let text = read(Some(&target))?;
    let mut document: DocumentMut = text
        .parse()
        .with_context(|| format!("cannot understand `{}`", path.display()))?;
    change(&mut document)?;
    let new = document.to_string();
    config::parse(&new, &path)?;
    if new != text {
        if let Some(dir) = target.parent() {
            fs_err::create_dir_all(dir)?;
        }
        condense_publish::write(&target, new.as_bytes()).map_err(condense_image::Error::from)?;
    }
    Ok(path)
}

/// Puts a value at the place of a key.
pub(super) fn put(document: &mut DocumentMut, key: &Key, values: &[String]) -> anyhow::Result<()> {
    let mut value = key.as_toml(values);
    let mut item = document.as_item_mut();
    let (last, above) = key.path.split_last().context("a key has a name")?;
    for name in above {
        let table = item
            .as_table_like_mut()
            .with_context(|| format!("`{name}` is not in a table"))?;
        if !table.contains_key(name) {
            table.insert(name, Item::Table(Table::new()));
        }
        item = table.get_mut(name).context("the table was made")?;
    }
    let table = item
        .as_table_like_mut()
        .with_context(|| format!("`{}` is not in a table", key.name))?;
    if let Some(before) = table.get(last).and_then(Item::as_value) {
        // The comment behind the value stays.
        *value.decor_mut() = before.decor().clone();
    }
    match table.get_mut(last) {
        Some(place) => *place = Item::Value(value),
        None => {
            table.insert(last, Item::Value(value));
        }
    }
    Ok(())
}

/// Removes a key, and tells whether it was there.
pub(super) fn take(document: &mut DocumentMut, key: &Key) -> bool {
    let Some((last, above)) = key.path.split_last() else {
        return false;
    };
    let mut item = document.as_item_mut();
    for name in above {
        match item.get_mut(name.as_str()) {
            Some(below) => item = below,
            None => return false,
        }
    }
    let table = item.as_table_like_mut();
    table.is_some_and(|table| table.remove(last).is_some())
}
