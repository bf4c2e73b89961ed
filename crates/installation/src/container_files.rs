//! Responsible for what a runtime looks for in a container image that is made of a base and an
//! environment: labels, scripts, help, tests, and the definition.

mod environment;
mod site;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

pub use environment::{ContainerEnvironment, EnvironmentKind};

use crate::{Bind, Result, SiteVariable};

/// Where all of it lies in a root file system.
const DIRECTORY: &str = ".singularity.d";
/// Sorts behind what a base says for itself, and in front of what the runtime adds.
const ENVIRONMENT: &str = "env/92-cotainr-env.sh";
/// What apptainer writes where an image has nothing to run by itself.
const NO_RUNSCRIPT: &str = "There is no runscript defined for this container";
/// Text that is no script has no business in one.
const SHEBANG: &str = "#!/bin/sh\n";

/// What a base says about itself; all of it may be missing.
#[derive(Clone, Debug, Default)]
pub struct BaseFiles {
    /// Its definition.
    pub definition: Option<String>,
    /// How many definitions of bases of its own it keeps.
    pub ancestors: usize,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it runs by itself.
    pub runscript: Option<String>,
    /// What `test` runs.
    pub test: Option<String>,
    /// What `run-help` shows.
    pub help: Option<String>,
    /// The script that an environment of an earlier build has left.
    pub environment: Option<String>,
    /// What `inspect` shows without starting it, JSON.
    pub metadata: Option<Vec<u8>>,
}

/// What a new container image says about itself.
#[derive(Clone, Debug)]
pub struct ContainerFiles {
    /// What its base says.
    pub base: BaseFiles,
    /// Labels beside the base's.
    pub labels: BTreeMap<String, String>,
    /// What it is made of, in a definition's words.
    pub definition: String,
    /// The environment that is active in it.
    pub environment: Option<ContainerEnvironment>,
    /// What the site wants where it starts.
    pub site: ContainerSite,
}

/// What a site wants of a container image. Only the variables can be in it: what is shown and what
/// the runtime is told is said where it starts.
#[derive(Clone, Debug, Default)]
pub struct ContainerSite {
    /// Its name.
    pub name: String,
    /// Set unless somebody has set them.
    pub variables: Vec<SiteVariable>,
    /// To be shown.
    pub binds: Vec<Bind>,
    /// To be told to the runtime.
    pub flags: Vec<String>,
}

/// One file, relative to the root.
pub type ContainerFile = (PathBuf, Vec<u8>, u16);

impl ContainerFiles {
    /// All files that are new or other than the base's, with their permissions.
    ///
    /// # Errors
    /// A variable of the environment that no shell can set.
    pub fn files(&self) -> Result<Vec<ContainerFile>> {
        let mut files = Vec::new();
        let mut put = |path: &str, text: &str, mode| {
            files.push((
                PathBuf::from(DIRECTORY).join(path),
                text.as_bytes().to_vec(),
                mode,
            ));
        };
        if let Some(definition) = &self.base.definition {
            // As apptainer does when it builds on an image.
            let path = format!("bootstrap_history/Singularity{}", self.base.ancestors);
            put(&path, definition, 0o644);
        }
        put("Singularity", &self.definition, 0o644);
        put("labels.json", &self.labels_json(), 0o644);
        if let Some(script) = self.environment_script()? {
            put(ENVIRONMENT, &script, 0o755);
        }
        for (name, text, mode) in [
            ("runscript", self.runscript(), 0o755),
            ("test", self.test(), 0o755),
            ("runscript.help", self.help(), 0o644),
        ] {
            if let Some(text) = text {
                put(name, &text, mode);
            }
        }
        Ok(files)
    }

    /// What `inspect` shows without starting the image, JSON.
    ///
    /// # Errors
    /// As [`ContainerFiles::files`].
    pub fn inspect_metadata(&self) -> Result<Vec<u8>> {
        let base = self.base.metadata.as_deref();
        let base: Option<Value> = base.and_then(|bytes| serde_json::from_slice(bytes).ok());
        let mut attributes = base
            .as_ref()
            .and_then(|value| value.pointer("/data/attributes")?.as_object().cloned())
            .unwrap_or_default();
        attributes.insert("labels".into(), json!(self.all_labels()));
        attributes.insert("deffile".into(), self.definition.trim_end().into());
        for (name, text) in [
            ("runscript", self.runscript()),
            ("test", self.test()),
            ("helpfile", self.help()),
        ] {
            if let Some(text) = text {
                attributes.insert(name.into(), text.trim_end().into());
            }
        }
        if let Some(script) = self.environment_script()? {
            let scripts = attributes
                .entry("environment")
                .or_insert_with(|| Map::new().into());
            if let Some(scripts) = scripts.as_object_mut() {
                let path = format!("/{DIRECTORY}/{ENVIRONMENT}");
                scripts.insert(path, script.trim_end().into());
            }
        }
        let metadata = json!({"data": {"attributes": attributes}, "type": "container"});
        Ok(metadata.to_string().into_bytes())
    }

    fn all_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.base.labels.clone();
        // That was another build, at another time.
        labels.remove("org.label-schema.build-date");
        labels.extend(self.labels.clone());
        labels
    }

    fn labels_json(&self) -> String {
        let labels = serde_json::to_string_pretty(&self.all_labels());
        labels.expect("text in memory is always JSON") + "\n"
    }

    fn environment_script(&self) -> Result<Option<String>> {
        let mut own = match &self.environment {
            Some(environment) => environment.script()?,
            None => String::new(),
        };
        // Behind the environment's own: what that sets is meant.
        own.push_str(&site::render(&self.site.variables)?);
        if own.is_empty() {
            return Ok(None);
        }
        Ok(Some(match &self.base.environment {
            Some(before) => format!("{}\n{own}", before.trim_end()),
            None => format!("{SHEBANG}{own}"),
        }))
    }

    /// The base's own; where it has none, whatever command is given, in the environment.
    fn runscript(&self) -> Option<String> {
        self.environment.as_ref()?;
        match &self.base.runscript {
            Some(text) if !text.contains(NO_RUNSCRIPT) => None,
            _ => Some(format!(
                "{SHEBANG}# Written by condense: runs the command that it is given, or else a shell.\n\
                 [ $# -gt 0 ] || set -- /bin/sh\n\
                 exec \"$@\"\n"
            )),
        }
    }

    fn test(&self) -> Option<String> {
        let environment = self.environment.as_ref()?;
        let mut text = format!("{SHEBANG}{}", environment.render_test());
        if let Some(of_base) = &self.base.test {
            text.push_str("\n# What the base tests.\n");
            text.push_str(of_base);
        }
        Some(text)
    }

    fn help(&self) -> Option<String> {
        let of_environment = self
            .environment
            .as_ref()
            .map(ContainerEnvironment::render_help);
        let own = [of_environment, self.site.render_help()];
        let own: Vec<String> = own.into_iter().flatten().collect();
        if own.is_empty() {
            return None;
        }
        let own = own.join("\n");
        Some(match &self.base.help {
            Some(of_base) => format!("{}\n\n{own}", of_base.trim_end()),
            None => own,
        })
    }
}

impl ContainerSite {
    fn render_help(&self) -> Option<String> {
        let mut words = self.flags.clone();
        if !self.binds.is_empty() {
            let binds = self.binds.iter().map(Bind::argument);
            let binds: Vec<String> = binds
                .map(|bind| bind.to_string_lossy().into_owned())
                .collect();
            words.push(format!("-B {}", binds.join(",")));
        }
        if words.is_empty() {
            return None;
        }
        Some(format!(
            "An image cannot say what of the host it is shown, so say it where you start it. On {}, as far as it is there:\n\
             apptainer exec {} IMAGE COMMAND\n",
            self.name,
            words.join(" ")
        ))
    }
}

#[cfg(test)]
mod tests;
