//! Responsible for building from definition files: the options of `condense build` that are about
//! them, and the plan.

mod refused;

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{ArgAction, Args};
use condense_build::{
    Submission,
    plan::{DefinitionOptions, DefinitionPlan, RunSettings, ScriptBind},
    read_definition,
};
use condense_definition::Arguments;
use condense_diagnostics::{Hint as _, UserError, closest};
use condense_env_vars::{self as env_vars, EnvVars};
use condense_publish::Existing;

use crate::console::Console;
use refused::RefusedArguments;

/// Words that `--section` takes.
const SECTIONS: [&str; 10] = [
    "all",
    "none",
    "environment",
    "files",
    "help",
    "labels",
    "post",
    "runscript",
    "startscript",
    "test",
];
/// Name of the runtimes' file of public keys.
pub(super) const PUBLIC_KEYS: &str = "pgp-public";

/// Options of `condense build` for definition files. They have the names of the runtimes' options.
#[derive(Debug, Default, Args)]
pub(super) struct DefinitionArguments {
    /// value of an argument of the file; may be given several times
    #[arg(long, value_name = "NAME=VALUE", action = ArgAction::Append)]
    build_arg: Vec<String>,
    /// file with a NAME=VALUE on each line
    #[arg(long, value_name = "FILE")]
    build_arg_file: Option<PathBuf>,
    /// go on if nothing uses a given argument
    #[arg(long)]
    warn_unused_build_args: bool,
    /// use only these sections, separated by commas; `none` for no section
    #[arg(long, value_name = "NAMES", value_delimiter = ',', action = ArgAction::Append)]
    section: Vec<String>,
    /// do not run %test
    #[arg(short = 'T', long)]
    notest: bool,
    /// let the owner read and write everything of the source
    #[arg(long)]
    fix_perms: bool,
    /// show paths of this machine to %post and %test, separated by commas; may be given several
    /// times
    #[arg(short = 'B', long, value_name = "SRC[:DST]", action = ArgAction::Append)]
    bind: Vec<String>,
    /// show NVIDIA's driver to %test
    #[arg(long)]
    nv: bool,
    /// show AMD's driver to %test
    #[arg(long)]
    rocm: bool,
    /// run scripts as root of a namespace, which is done anyway
    #[arg(short = 'f', long)]
    fakeroot: bool,
    /// run %post as this user if it cannot run as root, for scripts that need no root
    #[arg(long)]
    no_root: bool,
    /// say how %post runs, and why not in the ways before it
    #[arg(long)]
    explain: bool,
    /// neither look for the source in the cache nor keep it there
    #[arg(long)]
    disable_cache: bool,
    /// keep the scratch directory
    #[arg(long)]
    no_cleanup: bool,
    /// reach registries with plain HTTP
    #[arg(long, alias = "nohttps")]
    no_https: bool,
    /// credentials of registries, in the format of docker
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Options of runtimes for what is done anyway: no setuid program takes part, the namespaces
    /// have no groups, and the image is a SIF.
    #[arg(long, hide = true)]
    userns: bool,
    #[arg(long, hide = true)]
    no_setgroups: bool,
    #[arg(long, hide = true)]
    no_oci: bool,
    #[command(flatten)]
    refused: RefusedArguments,
}

/// Image that a command line asks for with a definition file, besides the options.
pub(super) struct AskedDefinition {
    /// Path of the definition as the user gave it.
    pub(super) file: PathBuf,
    /// The new file, absolute.
    pub(super) out: PathBuf,
    /// Whether an image that is there is replaced.
    pub(super) existing: Existing,
    /// Whether `--force` is given.
    pub(super) is_forced: bool,
    pub(super) dry_run: bool,
    pub(super) submission: Option<Submission>,
    pub(super) settings: RunSettings,
}

/// Returns whether a name is that of a definition file.
pub(super) fn is_definition(path: &Path) -> bool {
    path.extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("def"))
}

impl DefinitionArguments {
    /// Returns the first option that is given, for builds without a definition file.
    pub(super) fn first(&self) -> Option<&'static str> {
        let given = [
            (!self.build_arg.is_empty(), "--build-arg"),
            (self.build_arg_file.is_some(), "--build-arg-file"),
            (self.warn_unused_build_args, "--warn-unused-build-args"),
            (!self.section.is_empty(), "--section"),
            (self.notest, "--notest"),
            (self.fix_perms, "--fix-perms"),
            (!self.bind.is_empty(), "--bind"),
            (self.nv, "--nv"),
            (self.rocm, "--rocm"),
            (self.fakeroot, "--fakeroot"),
            (self.no_root, "--no-root"),
            (self.explain, "--explain"),
            (self.disable_cache, "--disable-cache"),
            (self.no_cleanup, "--no-cleanup"),
            (self.no_https, "--no-https"),
            (self.authfile.is_some(), "--authfile"),
            (self.userns, "--userns"),
            (self.no_setgroups, "--no-setgroups"),
            (self.no_oci, "--no-oci"),
        ];
        given
            .iter()
            .find(|(is_given, _)| *is_given)
            .map(|(_, name)| *name)
    }

    /// Refuses an option of the runtimes that is known and not supported.
    ///
    /// # Errors
    /// Returns an error with the name of the option and the reason.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        match self.refused.first() {
            Some(refusal) => Err(refusal.into()),
            None => Ok(()),
        }
    }

    /// Makes the plan of a build from a definition file.
    ///
    /// # Errors
    /// Returns an error if an option is invalid, and the first mistake of the file.
    pub(super) fn plan(
        self,
        asked: AskedDefinition,
        env_vars: &EnvVars,
        console: &Console,
    ) -> anyhow::Result<DefinitionPlan> {
        let AskedDefinition {
            file,
            out,
            existing,
            is_forced,
            dry_run,
            submission,
            mut settings,
        } = asked;
        let sections = sections(&self.section)?;
        let binds = self.bind.iter().flat_map(|list| list.split(','));
        let binds = binds.map(|text| bind(text, &env_vars.cwd));
        let binds = binds.collect::<anyhow::Result<Vec<ScriptBind>>>()?;
        let arguments = self.arguments(env_vars, console)?;
        let place = env_vars.cwd.join(&file);
        if !place.exists() {
            bail!(UserError::new(
                format!("`{}` does not exist", file.display()),
                "name a definition file; relative paths start from the current directory",
            ));
        }
        let definition = read_definition(&place, &file, &arguments)?;
        if self.disable_cache {
            settings.registries.cache = None;
        }
        settings.keep_scratch |= self.no_cleanup;
        let access = &mut settings.registries.access;
        access.plain_http |= self.no_https;
        if let Some(file) = &self.authfile {
            access.keyring.auth_file = Some(env_vars.cwd.join(file));
        }
        let flags = [(self.nv, "--nv"), (self.rocm, "--rocm")];
        let flags = flags.iter().filter(|(is_given, _)| *is_given);
        Ok(DefinitionPlan {
            definition,
            file,
            output: out,
            existing,
            options: DefinitionOptions {
                sections,
                skips_test: self.notest,
                fixes_permissions: self.fix_perms,
                replaces_labels: is_forced,
                binds,
                allows_no_root: self.no_root,
                explains: self.explain,
                flags: flags.map(|(_, name)| (*name).to_owned()).collect(),
            },
            cwd: env_vars.cwd.clone(),
            keyrings: key_files(PUBLIC_KEYS, env_vars),
            source_date_epoch: env_vars.source_date_epoch()?,
            dry_run,
            submission,
            settings,
        })
    }

    fn arguments(&self, env_vars: &EnvVars, console: &Console) -> anyhow::Result<Arguments> {
        let mut arguments = Arguments::default();
        arguments.warns_of_unused = self.warn_unused_build_args;
        if let Some(path) = &self.build_arg_file {
            let text = condense_input::read_named_to_string(
                env_vars.cwd.join(path),
                condense_input::TEXT_MOST,
            )?;
            for note in arguments.add_file(path, &text) {
                console.warning(note.to_string());
            }
        }
        for words in &self.build_arg {
            arguments.add_option(words).map_err(|error| {
                let hint = error.hint().unwrap_or_default();
                UserError::new(error.to_string(), hint).of_usage()
            })?;
        }
        Ok(arguments)
    }
}

/// Returns the sections that are used, or `None` for all of them.
fn sections(words: &[String]) -> anyhow::Result<Option<std::collections::BTreeSet<String>>> {
    for word in words {
        if SECTIONS.contains(&word.as_str()) {
            continue;
        }
        let hint = match closest(word, SECTIONS) {
            Some(similar) => format!("did you mean `{similar}`?"),
            None => format!("the words are {}", SECTIONS.join(", ")),
        };
        let problem = format!("`--section {word}`: there is no such section to choose");
        bail!(UserError::new(problem, hint).of_usage());
    }
    let has = |name: &str| words.iter().any(|word| word == name);
    Ok(if has("none") {
        Some(std::collections::BTreeSet::new())
    } else if words.is_empty() || has("all") {
        None
    } else {
        Some(words.iter().cloned().collect())
    })
}

fn bind(text: &str, cwd: &Path) -> anyhow::Result<ScriptBind> {
    let mut parts = text.splitn(3, ':');
    let source = parts.next().unwrap_or_default();
    let destination = parts.next().unwrap_or(source);
    let refused = |problem: &str| {
        UserError::new(
            format!("`--bind {text}`: {problem}"),
            "write SRC:DST, both absolute, of a file or directory of this machine",
        )
    };
    if parts.next().is_some_and(|options| options != "rw") {
        bail!(refused("scripts of a build see binds as they are").of_usage());
    }
    let source = cwd.join(source);
    if !source.exists() {
        bail!(refused("there is no such file or directory"));
    }
    let destination = PathBuf::from(destination);
    if !destination.is_absolute() {
        bail!(refused("the path in the container is not absolute").of_usage());
    }
    Ok(ScriptBind {
        source,
        destination,
    })
}

/// Returns the files of a runtime's keys.
pub(super) fn key_files(name: &str, env_vars: &EnvVars) -> Vec<PathBuf> {
    let look = |name| env_vars.get(name).map(PathBuf::from);
    if let Some(directory) = look(env_vars::APPTAINER_KEYSDIR) {
        return vec![directory.join(name)];
    }
    let Some(home) = look(env_vars::HOME) else {
        return Vec::new();
    };
    let directories = [".apptainer/keys", ".singularity/keys"];
    directories.map(|it| home.join(it).join(name)).into()
}
