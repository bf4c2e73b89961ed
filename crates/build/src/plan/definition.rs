//! Responsible for the description of a SIF that is built from a definition file.

use std::{collections::BTreeSet, fmt, path::PathBuf};

use condense_definition::{Definition, Stage};
use condense_publish::Existing;

use super::RunSettings;
use crate::Submission;

/// Plan of a SIF that is built from a definition file.
#[derive(Debug, Clone)]
pub struct DefinitionPlan {
    /// The definition, with its arguments substituted.
    pub definition: Definition,
    /// Path of the definition file as the user gave it.
    pub file: PathBuf,
    /// The new file, absolute.
    pub output: PathBuf,
    /// Whether an image that is there is replaced.
    pub existing: Existing,
    /// Options of the build.
    pub options: DefinitionOptions,
    /// Directory that relative paths start from.
    pub cwd: PathBuf,
    /// Files with the public keys that signatures are checked with. Some may not exist.
    pub keyrings: Vec<PathBuf>,
    /// Time of the image and of everything that is added, in seconds since 1970.
    pub source_date_epoch: Option<u32>,
    /// Shows the plan and exits.
    pub dry_run: bool,
    /// Job that does the work in place of this process.
    pub submission: Option<Submission>,
    /// Settings of the run.
    pub settings: RunSettings,
}

/// Options of a build from a definition file.
#[derive(Debug, Clone, Default)]
pub struct DefinitionOptions {
    /// Sections that are used, or `None` for all of them.
    pub sections: Option<BTreeSet<String>>,
    /// Whether `%test` is not run.
    pub skips_test: bool,
    /// Whether the owner of each file and directory of the source may read and write it.
    pub fixes_permissions: bool,
    /// Whether labels and help of the source are replaced.
    pub replaces_labels: bool,
    /// Paths that `%post` and `%test` see.
    pub binds: Vec<ScriptBind>,
    /// Whether `%post` may run as the user, if it cannot run as root.
    pub allows_no_root: bool,
    /// Whether the way in which `%post` runs is said, with the reasons against the others.
    pub explains: bool,
    /// Flags of the runtime for `%test`, such as `--nv`.
    pub flags: Vec<String>,
}

/// Path of this machine that scripts of a build see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptBind {
    /// Path on this machine, absolute.
    pub source: PathBuf,
    /// Path in the container, absolute.
    pub destination: PathBuf,
}

impl DefinitionOptions {
    /// Returns whether a section is used.
    pub fn uses(&self, section: &str) -> bool {
        let sections = self.sections.as_ref();
        sections.is_none_or(|sections| sections.contains(section))
    }
}

impl DefinitionPlan {
    /// Returns whether the section of any stage has a script that runs.
    pub(crate) fn runs_any(&self, section: &str) -> bool {
        let mut stages = self.definition.stages.iter();
        stages.any(|stage| self.runs(stage, section))
    }

    /// Returns remarks about options that nothing in the file uses.
    pub(crate) fn options_without_effect(&self) -> Vec<String> {
        let options = &self.options;
        let (post, test) = (self.runs_any("post"), self.runs_any("test"));
        let mut unused = Vec::new();
        for (is_given, name) in [
            (options.explains, "--explain"),
            (options.allows_no_root, "--no-root"),
        ] {
            if is_given && !post {
                unused.push(format!("`{name}` has no effect: no %post runs"));
            }
        }
        if !options.binds.is_empty() && !post && !test {
            unused.push("`--bind` has no effect: neither %post nor %test runs".to_owned());
        }
        if !test {
            let flags = options.flags.iter();
            unused.extend(flags.map(|flag| format!("`{flag}` has no effect: no %test runs")));
        }
        unused
    }

    /// Returns whether the section of a stage has a script that runs.
    pub(crate) fn runs(&self, stage: &Stage, section: &str) -> bool {
        let is_skipped = section == "test" && self.options.skips_test;
        let has_script = stage.script(section).is_some()
            || section == "post"
                && stage
                    .apps
                    .iter()
                    .any(|app| app.sections.contains_key("appinstall"));
        has_script && self.options.uses(section) && !is_skipped
    }
}

impl fmt::Display for DefinitionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "image         {}", self.output.display())?;
        writeln!(f, "definition    {}", self.file.display())?;
        for stage in &self.definition.stages {
            let name = stage.name().map(|name| format!("{name}: "));
            let (name, agent) = (name.unwrap_or_default(), stage.agent.name());
            writeln!(f, "stage         {name}{agent} {}", stage.source())?;
        }
        let scratch = self.settings.scratch_parent.display();
        write!(f, "scratch       {scratch}")?;
        if self.settings.registries.offline {
            write!(f, "\nnetwork       offline")?;
        }
        Ok(())
    }
}
