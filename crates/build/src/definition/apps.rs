//! Responsible for apps: the files of `%app…` sections below `/scif`.

use std::collections::BTreeMap;

use condense_definition::{App, Script, Stage, Transfer};
use condense_image::Tree;

use super::{
    copy::from_host,
    metadata::with_tabs,
    root::{find, put, resolve},
};
use crate::{plan::DefinitionPlan, root_script::Lines};

/// Script that makes the variables of all apps known.
const GLOBAL: &str = ".singularity.d/env/94-appsbase.sh";

/// Adds the files of all apps of a stage, and the script that is there without apps as well.
///
/// # Errors
/// Returns an error if a file of an app cannot be copied.
pub(super) fn add(tree: &mut Tree, stage: &Stage, plan: &DefinitionPlan) -> anyhow::Result<()> {
    let mut global = String::new();
    for app in &stage.apps {
        add_app(tree, app)?;
        for transfer in &app.files {
            // A file without a destination keeps its path below the app.
            let below = transfer.destination.as_ref().unwrap_or(&transfer.source);
            let transfer = Transfer {
                destination: Some(format!("{}/{below}", directory(app))),
                ..transfer.clone()
            };
            from_host(tree, &transfer, &plan.cwd)?;
        }
        global.push_str(&variables(tree, app)?);
    }
    put(tree, GLOBAL, global.into_bytes(), 0o755)
}

/// Adds what `%appinstall` sections put at the end of `%post`.
pub(super) fn install(stage: &Stage, script: &mut String, lines: &mut Lines) {
    for app in &stage.apps {
        if let Some(install) = app.sections.get("appinstall") {
            let directory = directory(app);
            lines.push((script.lines().count() + 1, None));
            script.push_str(&format!(
                "\ncd /\n. {directory}/scif/env/01-base.sh\ncd {directory}\n"
            ));
            let before = script.lines().count();
            lines.extend(lines_of(install, before));
            script.push_str(&install.text);
            lines.push((script.lines().count() + 1, None));
            script.push_str("\ncd /\n");
        }
    }
}

/// Returns the places of a script's lines, of which there are `before` others above.
pub(super) fn lines_of(script: &Script, before: usize) -> Lines {
    let parts = script.parts.iter();
    parts
        .map(|part| (before + part.line, Some(part.line_of_file)))
        .collect()
}

fn directory(app: &App) -> String {
    format!("/scif/apps/{}", app.name)
}

fn add_app(tree: &mut Tree, app: &App) -> anyhow::Result<()> {
    let (name, directory) = (&app.name, directory(app));
    let data = format!("/scif/data/{name}");
    for path in [
        format!("{directory}/bin"),
        format!("{directory}/lib"),
        format!("{directory}/scif/env"),
        format!("{data}/input"),
        format!("{data}/output"),
    ] {
        tree.add_directory(resolve(tree, path.as_ref())?)?;
    }
    let base = format!(
        "#!/bin/sh\n\nexport SCIF_APPNAME={name}\nexport SCIF_APPROOT={directory}\nexport SCIF_APPMETA={directory}/scif\nexport SCIF_DATA=/scif/data\nexport SCIF_APPDATA={data}\nexport SCIF_APPINPUT={data}/input\nexport SCIF_APPOUTPUT={data}/output\n"
    );
    let meta = format!("{directory}/scif");
    put(
        tree,
        format!("{meta}/env/01-base.sh"),
        base.into_bytes(),
        0o755,
    )?;
    for (section, file, mode) in [
        ("appenv", "env/90-environment.sh", 0o755),
        ("apprun", "runscript", 0o755),
        ("appstart", "startscript", 0o755),
        ("apptest", "test", 0o755),
        ("apphelp", "runscript.help", 0o644),
    ] {
        let Some(script) = app.sections.get(section) else {
            continue;
        };
        let text = if matches!(section, "appenv" | "apphelp") {
            script.text.clone()
        } else {
            format!("#!/bin/sh\n\n{}\n", script.text)
        };
        put(tree, format!("{meta}/{file}"), text.into_bytes(), mode)?;
    }
    let mut labels = BTreeMap::from([("SCIF_APP_NAME".to_owned(), name.clone())]);
    let lines = app
        .sections
        .get("applabels")
        .map(|script| script.text.as_str());
    let lines = lines.unwrap_or_default().lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        labels.insert(key.to_owned(), value.trim().to_owned());
    }
    put(
        tree,
        format!("{meta}/labels.json"),
        with_tabs(&labels),
        0o644,
    )
}

/// Returns the variables by which all programs find an app.
fn variables(tree: &Tree, app: &App) -> anyhow::Result<String> {
    let directory = directory(app);
    let name: String = app
        .name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    let mut text = format!("# Variables of the app {}\n", app.name);
    for (variable, path) in [
        ("APPDATA", format!("/scif/data/{}", app.name)),
        ("APPMETA", format!("{directory}/scif")),
        ("APPROOT", directory.clone()),
        ("APPBIN", format!("{directory}/bin")),
        ("APPLIB", format!("{directory}/lib")),
        ("APPENV", format!("{directory}/scif/env/90-environment.sh")),
        ("APPLABELS", format!("{directory}/scif/labels.json")),
        ("APPRUN", format!("{directory}/scif/runscript")),
        ("APPSTART", format!("{directory}/scif/startscript")),
    ] {
        if find(tree, &resolve(tree, path.as_ref())?).is_some() {
            text.push_str(&format!("export SCIF_{variable}_{name}=\"{path}\"\n"));
        }
    }
    Ok(text)
}
