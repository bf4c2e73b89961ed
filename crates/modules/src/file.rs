//! Responsible for the description of a module: everything that its file says, in no language.

use crate::{
    error::Result,
    language::Language,
    lua,
    name::ModuleName,
    record::{ImageRecord, Record},
    tcl,
};

/// Name and value, such as a package and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Name of a package, a variable or a fact.
    pub name: String,
    /// Version of a package, or value of a variable or a fact.
    pub value: String,
}

impl Named {
    /// Returns a pair of a name and a value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }
}

/// File or directory that a module makes visible in containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleBind {
    /// Path on the host.
    pub source: String,
    /// Path in the container.
    pub destination: String,
}

impl ModuleBind {
    /// Returns the entry of `SINGULARITY_BIND`. A path that stays the same is written once.
    pub(crate) fn entry(&self) -> String {
        if self.source == self.destination {
            self.source.clone()
        } else {
            format!("{}:{}", self.source, self.destination)
        }
    }
}

/// Module of an image or of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleFile {
    /// Name and version of the module.
    pub module: ModuleName,
    /// Description in one line.
    pub description: String,
    /// Words by which `module keyword` finds the module.
    pub keywords: Vec<String>,
    /// Directory of the module's files, `CONTAINERROOT`.
    pub root: String,
    /// Facts for the help: the base, the digest, the day.
    pub facts: Vec<Named>,
    /// Packages for the help, the most wanted ones.
    pub packages: Vec<Named>,
    /// Commands in `bin`, for the help.
    pub commands: Vec<String>,
    /// Modules that this one cannot be loaded with.
    pub conflicts: Vec<String>,
    /// Settings of containers; an installation has its own and needs none.
    pub container: Option<ContainerModule>,
}

/// Settings of a module that runs containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerModule {
    /// Image, and where it may lie.
    pub image: ImageRecord,
    /// Bind mounts of the site.
    pub binds: Vec<ModuleBind>,
    /// Whether bind mounts are set whose sources do not exist where the module is loaded. Jobs
    /// inherit the variables from login nodes, on which a source may be missing.
    pub keeps_missing_binds: bool,
    /// Directories in front of the container's PATH, the first one first.
    pub path: Vec<String>,
    /// Variables that are set unless the user has set them.
    pub variables: Vec<Named>,
}

impl ModuleFile {
    /// Returns the text of the module file.
    ///
    /// # Errors
    /// Returns an error for a path that a bind mount or a search path cannot contain.
    pub fn render(&self, language: Language) -> Result<String> {
        self.check()?;
        Ok(match language {
            Language::Lua => lua::render(self),
            Language::Tcl => tcl::render(self),
        })
    }

    /// Returns what the file says for programs.
    pub fn record(&self) -> Record {
        let image = self.container.as_ref().map(|container| &container.image);
        Record::new(&self.module, &self.root, image.cloned())
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_path(&self.root)?;
        let image = self.container.as_ref().map(|container| &container.image);
        image.map_or(Ok(()), |image| check_file(&image.path))
    }

    /// Returns the lines of the help text. The last one says what `writer` keeps when it writes
    /// the module anew.
    pub(crate) fn help(&self, writer: &str) -> Vec<String> {
        let suffix = self.module.suffix();
        let mut lines = vec![self.description.clone(), String::new()];
        let mut table = |heading: &str, rows: Vec<Named>| {
            if rows.is_empty() {
                return;
            }
            lines.push(format!("{heading}:"));
            let widths = rows.iter().map(|row| row.name.chars().count());
            let width = widths
                .filter(|width| *width <= WIDTH_MOST)
                .max()
                .unwrap_or(0);
            for row in rows {
                lines.push(format!("  {:width$}  {}", row.name, row.value));
            }
            lines.push(String::new());
        };
        table("Packages", self.packages.clone());
        table("Variables", self.help_of_variables(&suffix));
        table("Commands", self.help_of_commands());
        table("Image", self.facts.clone());
        if self.container.is_some() {
            lines.push(format!(
                "`{writer}` keeps user-software and writes the rest of CONTAINERROOT anew."
            ));
        }
        lines
    }

    fn help_of_variables(&self, suffix: &str) -> Vec<Named> {
        let mut rows = Vec::new();
        if self.container.is_some() {
            rows.push(Named::new(format!("SIF, SIF{suffix}"), "path of the image"));
            rows.push(Named::new(
                format!("RUNSCRIPTS, RUNSCRIPTS{suffix}"),
                "directory of scripts that containers see as /runscripts",
            ));
        }
        rows.push(Named::new(
            format!("CONTAINERROOT, EBROOT{suffix}"),
            "directory of the module",
        ));
        rows.push(Named::new(
            format!("EBVERSION{suffix}"),
            "version of the module",
        ));
        if let Some(container) = &self.container {
            rows.push(Named::new(
                "SINGULARITY_BIND",
                "bind mounts of the site, /runscripts and /user-software, beside your own",
            ));
            let prefix = "SINGULARITYENV_";
            let inside = container.variables.iter().filter_map(|variable| {
                let name = variable.name.strip_prefix(prefix)?;
                Some(format!("{name}={}", variable.value))
            });
            let inside: Vec<String> = inside.collect();
            if !inside.is_empty() {
                rows.push(Named::new(format!("{prefix}…"), inside.join(", ")));
            }
            let plain = container.variables.iter();
            let plain = plain.filter(|variable| !variable.name.starts_with(prefix));
            rows.extend(plain.cloned());
        }
        rows
    }

    fn help_of_commands(&self) -> Vec<Named> {
        let mut rows = Vec::new();
        let mut programs = Vec::new();
        for command in &self.commands {
            let what = match command.as_str() {
                "start-shell" => {
                    "a shell in the container; `start-shell -- COMMAND` runs a command"
                }
                "list-packages" => "the Python packages of the image and of /user-software",
                "make-squashfs" => {
                    "pack user-software into one file; `--remove` removes the directory"
                }
                "unmake-squashfs" => "unpack it again; `--edit` sets the file aside",
                other => {
                    programs.push(other);
                    continue;
                }
            };
            rows.push(Named::new(command.clone(), what));
        }
        if !programs.is_empty() {
            rows.push(Named::new(programs.join(" "), "in the container"));
        }
        rows
    }

    /// Returns packages as the function `extensions` of Lmod takes them.
    pub(crate) fn extensions(&self) -> String {
        let names = self.packages.iter();
        let names = names.map(|package| format!("{}/{}", package.name, package.value));
        names.collect::<Vec<_>>().join(",")
    }
}

/// Most columns of a name in a table of the help. A longer one is a list of programs.
const WIDTH_MOST: usize = 40;

/// Verb that writes a module anew, for the help.
pub(crate) const WRITER: &str = "condense module --force";

/// Refuses a directory that a bind mount or PATH would split.
pub(crate) fn check_path(path: &str) -> Result<()> {
    match path.chars().find(|c| matches!(c, ':' | ',' | '\n')) {
        None => Ok(()),
        Some(_) => Err(crate::Error::Path {
            path: path.into(),
            problem: "bind mounts and PATH are split at `:`, `,` and line ends",
        }),
    }
}

fn check_file(path: &str) -> Result<()> {
    if path.contains('\n') {
        return Err(crate::Error::Path {
            path: path.into(),
            problem: "its name has a line end",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
