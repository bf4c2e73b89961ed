//! Responsible for `.singularity.d`: the files that a runtime reads in an image, made from the
//! image's configuration.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::manifest::Run;
use super::rootfs::RootFs;

/// Scripts that are the same in every image.
const SCRIPTS: [(&str, &str); 11] = [
    (
        ".singularity.d/actions/exec",
        include_str!("runtime_files/exec.sh"),
    ),
    (
        ".singularity.d/actions/run",
        include_str!("runtime_files/run.sh"),
    ),
    (
        ".singularity.d/actions/shell",
        include_str!("runtime_files/shell.sh"),
    ),
    (
        ".singularity.d/actions/start",
        include_str!("runtime_files/start.sh"),
    ),
    (
        ".singularity.d/actions/test",
        include_str!("runtime_files/test.sh"),
    ),
    (".singularity.d/env/01-base.sh", "#!/bin/sh\n"),
    (".singularity.d/env/94-appsbase.sh", ""),
    (
        ".singularity.d/env/95-apps.sh",
        include_str!("runtime_files/apps.sh"),
    ),
    (
        ".singularity.d/env/99-base.sh",
        include_str!("runtime_files/base.sh"),
    ),
    (
        ".singularity.d/env/99-runtimevars.sh",
        include_str!("runtime_files/runtime-variables.sh"),
    ),
    (".singularity.d/startscript", "#!/bin/sh\n"),
];
const ENVIRONMENT: &str = ".singularity.d/env/10-docker2singularity.sh";
const OWN_ENVIRONMENT: &str = ".singularity.d/env/90-environment.sh";
const OWN_ENVIRONMENT_TEXT: &str = "#!/bin/sh\n# Custom environment shell code should follow\n\n";
/// Links in the root directory through which older runtimes find these files.
const LINKS: [(&str, &str); 6] = [
    (".exec", ".singularity.d/actions/exec"),
    (".run", ".singularity.d/actions/run"),
    (".shell", ".singularity.d/actions/shell"),
    (".test", ".singularity.d/actions/test"),
    ("environment", ".singularity.d/env/90-environment.sh"),
    ("singularity", ".singularity.d/runscript"),
];
/// Directories that a runtime mounts over or writes to, so they must exist.
const DIRECTORIES: [(&str, u16); 9] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("proc", 0o755),
    ("root", 0o755),
    ("sys", 0o755),
    ("tmp", 0o755),
    ("var", 0o755),
    ("var/tmp", 0o755),
];
const OWN_DIRECTORIES: [(&str, u16); 4] = [
    (".singularity.d", 0o755),
    (".singularity.d/actions", 0o755),
    (".singularity.d/env", 0o755),
    (".singularity.d/libs", 0o755),
];
const FILES: [&str; 2] = ["etc/hosts", "etc/resolv.conf"];

/// Entry of a root file system that runtimes expect in every image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeEntry {
    /// Directory with its permissions.
    Directory(&'static str, u16),
    /// File with its text and its permissions.
    File(&'static str, &'static str, u16),
    /// Symlink with its target.
    Link(&'static str, &'static str),
}

/// Returns the entries that runtimes expect in every image, relative to the root directory: those
/// of an image without a configuration. Parents come first. The runscript is not among them.
pub fn runtime_entries() -> Vec<RuntimeEntry> {
    let directories = DIRECTORIES.into_iter().chain(OWN_DIRECTORIES);
    let mut entries: Vec<RuntimeEntry> = directories
        .map(|(path, mode)| RuntimeEntry::Directory(path, mode))
        .collect();
    entries.extend(FILES.map(|path| RuntimeEntry::File(path, "", 0o644)));
    entries.extend(SCRIPTS.map(|(path, text)| RuntimeEntry::File(path, text, 0o755)));
    entries.push(RuntimeEntry::File(
        OWN_ENVIRONMENT,
        OWN_ENVIRONMENT_TEXT,
        0o755,
    ));
    entries.extend(LINKS.map(|(path, target)| RuntimeEntry::Link(path, target)));
    entries
}

/// Files that describe an image in the format of the runtimes.
#[derive(Debug)]
pub(crate) struct RuntimeFiles {
    definition: String,
    labels: BTreeMap<String, String>,
    runscript: String,
    environment: String,
    /// Names of variables that no shell can set.
    pub(crate) unusable: Vec<String>,
}

impl RuntimeFiles {
    /// Makes the files. `transport` and `from` are the values of `bootstrap:` and `from:` in the
    /// definition file. `architecture` and `created` become labels.
    pub(crate) fn new(
        run: &Run,
        transport: &str,
        from: &str,
        architecture: &str,
        created: &str,
    ) -> RuntimeFiles {
        let mut labels = run.labels.clone();
        for (key, value) in [
            ("build-arch", architecture),
            ("build-date", created),
            ("schema-version", "1.0"),
            ("usage.singularity.deffile.bootstrap", transport),
            ("usage.singularity.deffile.from", from),
        ] {
            labels.insert(format!("org.label-schema.{key}"), value.to_owned());
        }
        let (environment, unusable) = render_environment(&run.env);
        RuntimeFiles {
            definition: format!("bootstrap: {transport}\nfrom: {from}\n\n"),
            labels,
            runscript: render_runscript(run),
            environment,
            unusable,
        }
    }

    /// Adds all files to the root file system.
    pub(crate) fn install(&self, root: &mut RootFs) -> Result<(), String> {
        for (path, mode) in DIRECTORIES {
            root.ensure_directory(path, mode)?;
        }
        for path in FILES {
            // The runtime mounts its own files over these. Their contents in the image belong to
            // the machine on which it was built.
            if root.is_file_or_missing(path) {
                root.put_file(path, Vec::new(), 0o644)?;
            }
        }
        // An image that was made from a SIF has this directory already, and it describes that SIF.
        root.remove(".singularity.d");
        for (path, mode) in OWN_DIRECTORIES {
            root.ensure_directory(path, mode)?;
        }
        let mut put = |path: &str, text: &str, mode| root.put_file(path, text.into(), mode);
        for (path, text) in SCRIPTS {
            put(path, text, 0o755)?;
        }
        put(".singularity.d/runscript", &self.runscript, 0o755)?;
        put(ENVIRONMENT, &self.environment, 0o755)?;
        put(OWN_ENVIRONMENT, OWN_ENVIRONMENT_TEXT, 0o755)?;
        put(".singularity.d/Singularity", &self.definition, 0o644)?;
        let labels = json_with_tabs(&self.labels);
        put(".singularity.d/labels.json", &labels, 0o644)?;
        for (path, target) in LINKS {
            root.put_symlink(path, target)?;
        }
        Ok(())
    }

    /// Returns the definition file, which becomes an object of the SIF.
    pub(crate) fn definition(&self) -> &str {
        &self.definition
    }

    /// Returns the metadata that `inspect` prints without starting the image, which become an
    /// object of the SIF.
    pub(crate) fn inspect_metadata(&self) -> Value {
        let mut environment = Map::new();
        for (path, text) in [
            (ENVIRONMENT, self.environment.as_str()),
            (OWN_ENVIRONMENT, OWN_ENVIRONMENT_TEXT),
        ] {
            let path = format!("/{path}");
            environment.insert(path, text.trim_end().into());
        }
        json!({
            "data": {
                "attributes": {
                    "environment": environment,
                    "labels": self.labels,
                    "runscript": self.runscript.trim_end(),
                    "deffile": self.definition.trim_end(),
                    "startscript": "#!/bin/sh",
                },
            },
            "type": "container",
        })
    }
}

fn json_with_tabs(labels: &BTreeMap<String, String>) -> String {
    let mut bytes = Vec::new();
    let style = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, style);
    serde::Serialize::serialize(labels, &mut serializer).expect("text in memory is always JSON");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// Returns the runscript. The words of ENTRYPOINT and CMD are passed unchanged. The shell evaluates
/// the user's arguments once more, as runtimes do, unless SINGULARITY_NO_EVAL is set.
fn render_runscript(run: &Run) -> String {
    let words = |words: &[String]| -> String {
        let mut text = String::new();
        for word in words {
            text.push_str(&quote(word));
            text.push(' ');
        }
        text
    };
    format!(
        "{}\
         if [ $# -eq 0 ]; then\n\
         \x20   set -- {}\"$@\"\n\
         elif [ -z \"${{SINGULARITY_NO_EVAL:-}}\" ]; then\n\
         \x20   evaluated=\n\
         \x20   for word in \"$@\"; do\n\
         \x20       evaluated=\"$evaluated \\\"$word\\\"\"\n\
         \x20   done\n\
         \x20   eval \"set -- $evaluated\"\n\
         fi\n\
         set -- {}\"$@\"\n\
         [ $# -gt 0 ] || set -- /bin/sh\n\
         exec \"$@\"\n",
        "#!/bin/sh\n\
         # What the image runs by itself (CMD, without arguments) and in front of everything (ENTRYPOINT). Arguments are\n\
         # evaluated by the shell once more, unless the runtime says otherwise.\n",
        words(&run.cmd),
        words(&run.entrypoint),
    )
}

/// Returns a script that sets the image's variables, and the names of variables that no shell can
/// set. A variable that is set already keeps its value, except PATH, which gets the image's value.
fn render_environment(variables: &[String]) -> (String, Vec<String>) {
    let mut text = "#!/bin/sh\n".to_owned();
    let mut unusable = Vec::new();
    for variable in variables {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let starts_well = name
            .bytes()
            .next()
            .is_some_and(|b| is_name(b) && !b.is_ascii_digit());
        if !starts_well || !name.bytes().all(is_name) {
            unusable.push(name.to_owned());
            continue;
        }
        let value = quote(value);
        if name == "PATH" {
            text.push_str(&format!("export PATH={value}\n"));
        } else {
            text.push_str(&format!(
                "[ -n \"${{{name}:-}}\" ] || {name}={value}\nexport {name}\n"
            ));
        }
    }
    (text, unusable)
}

/// Quotes a word without a backslash, because the shell that is built into apptainer keeps a
/// backslash in assignments.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\"'\"'"))
}

#[cfg(test)]
mod tests;
