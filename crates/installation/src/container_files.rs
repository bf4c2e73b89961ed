//! Responsible for the files that a runtime reads in a container image that is made of a base and
//! an environment: labels, scripts, help, tests, and the definition.

mod environment;
mod site;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

pub use environment::{ContainerEnvironment, EnvironmentKind};

use crate::{Bind, Result, SiteVariable};

/// Directory of all these files in a root file system.
const DIRECTORY: &str = ".singularity.d";
/// Script that sets the environment's variables. Its name sorts after the scripts of the base and
/// before the script that the runtime adds.
const ENVIRONMENT: &str = "env/92-cotainr-env.sh";
/// Text that apptainer writes into the runscript of an image without a runscript of its own.
const NO_RUNSCRIPT: &str = "There is no runscript defined for this container";
/// Line that gives programs of an image without runtime files the PATH that runtimes give them. A
/// runtime sets none if a script has set one.
const USUAL_PATH: &str = "[ -n \"${PATH:-}\" ] || export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n";
/// Lines that hide the user's own Python packages, unless the user asks for them at a start.
const NO_USER_SITE: &str = "[ \"${CONDENSE_NO_USER_SITE:-1}\" = 0 ] || export PYTHONNOUSERSITE=1\n";
/// First line of every generated script.
const SHEBANG: &str = "#!/bin/sh\n";

/// The files of a base that describe it. Any of them may be missing.
#[derive(Clone, Debug, Default)]
pub struct BaseFiles {
    /// Definition file of the base.
    pub definition: Option<String>,
    /// Number of definition files of earlier bases that the base keeps in `bootstrap_history`.
    pub ancestors: usize,
    /// Labels of the base.
    pub labels: BTreeMap<String, String>,
    /// Script of the base that `run` starts.
    pub runscript: Option<String>,
    /// Script of the base that `test` starts.
    pub test: Option<String>,
    /// Help text of the base, as `run-help` prints it.
    pub help: Option<String>,
    /// Environment script that an earlier build has left in the base.
    pub environment: Option<String>,
    /// JSON metadata that `inspect` prints without starting the base.
    pub metadata: Option<Vec<u8>>,
}

/// The files of a new container image that describe it.
#[derive(Clone, Debug)]
pub struct ContainerFiles {
    /// Files of its base.
    pub base: BaseFiles,
    /// Labels that are added to the base's labels.
    pub labels: BTreeMap<String, String>,
    /// Definition file of the new image.
    pub definition: String,
    /// Environment that is active in the image, if it has one.
    pub environment: Option<ContainerEnvironment>,
    /// Settings of the site on which the image starts.
    pub site: ContainerSite,
    /// Directory of programs that PATH ends with.
    pub last_on_path: Option<PathBuf>,
}

/// Settings of a site for a container image. Only the variables can be stored in the image. Bind
/// mounts and flags of the runtime can only be given where the image is started, so the help text
/// lists them.
#[derive(Clone, Debug, Default)]
pub struct ContainerSite {
    /// Name of the site.
    pub name: String,
    /// Variables that are set unless the user or the base has set them.
    pub variables: Vec<SiteVariable>,
    /// Bind mounts that the site needs.
    pub binds: Vec<Bind>,
    /// Flags that the runtime needs on this site.
    pub flags: Vec<String>,
    /// Whether programs do not see the user's own Python packages in `~/.local`.
    pub no_user_site: bool,
}

/// One file: its path relative to the root directory, its bytes and its permissions.
pub type ContainerFile = (PathBuf, Vec<u8>, u16);

impl ContainerFiles {
    /// Returns all files that are new or differ from the base's, with their permissions.
    ///
    /// # Errors
    /// Returns [`Error::Value`](crate::Error::Value) if a variable of the environment or of the
    /// site has a name that no shell can set.
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
            // Apptainer keeps the definition of a base in the same way when it builds on an image.
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

    /// Returns the JSON metadata that `inspect` prints without starting the image.
    ///
    /// # Errors
    /// Returns any error of [`ContainerFiles::files`].
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
        // The label is the build date of the base, not of this image.
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
        // The site's variables come after the environment's, because the values that the
        // environment sets win.
        own.push_str(&site::render(&self.site.variables)?);
        if let Some(dir) = &self.last_on_path {
            own.push_str(&environment::render_end_of_path(dir));
        }
        if self.site.no_user_site {
            own.push_str(NO_USER_SITE);
        }
        if own.is_empty() {
            return Ok(None);
        }
        Ok(Some(match &self.base.environment {
            Some(before) => format!("{}\n{own}", before.trim_end()),
            None => format!("{SHEBANG}{USUAL_PATH}{own}"),
        }))
    }

    /// Returns a runscript that runs the given command, or a shell, in the environment. Returns
    /// `None` if there is no environment or the base has a runscript of its own.
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
            text.push_str("\n# Tests of the base:\n");
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
