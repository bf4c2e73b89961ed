//! Responsible for the script of a job: every line of it follows from a setting that has a reason.

mod directives;
mod launch;
mod stage;
mod surroundings;

use std::path::Path;

use crate::{
    batch::{BatchScript, Scheduler, quote},
    error::Result,
    request::{Program, Request},
    resources::{JobSite, Resources},
    setting::{Setting, SettingKind, Settings},
};

/// Name of the source of values that no rule of a site and no option gives.
const OURS: &str = "condense";

/// Job with its script.
#[derive(Debug, Clone)]
pub struct Job {
    /// Nodes of the job.
    pub resources: Resources,
    /// Everything that the script sets, in its order.
    pub settings: Vec<Setting>,
    /// Batch script for the scheduler.
    pub script: BatchScript,
}

impl Job {
    /// Plans a job that runs a program at a site.
    ///
    /// # Errors
    /// Returns an error if the rules of the site do not allow the job, or if the launcher cannot
    /// start the program.
    pub fn plan(site: JobSite<'_>, request: &Request, program: &Program) -> Result<Self> {
        let scheduler = site.scheduler()?;
        let resources = site.resources(request, program.is_for_gpus)?;
        let (script, settings) = directives::write(site, request, &resources, program)?;
        let mut plan = Plan {
            site,
            scheduler,
            resources: &resources,
            program,
            stage: request.stage.as_deref(),
            settings,
            script,
        };
        let command = plan.command()?;
        plan.surroundings();
        plan.stage()?;
        plan.start(&command);
        let Plan {
            settings, script, ..
        } = plan;
        Ok(Self {
            settings: settings.0,
            script,
            resources,
        })
    }
}

/// Job in the making.
struct Plan<'a> {
    site: JobSite<'a>,
    scheduler: Scheduler,
    resources: &'a Resources,
    program: &'a Program,
    stage: Option<&'a Path>,
    settings: Settings,
    script: BatchScript,
}

impl Plan<'_> {
    fn line(&mut self, line: impl Into<String>) {
        self.script.line(line);
    }

    /// Exports a variable, unless the user has set it. `path` must exist on the node.
    fn export(&mut self, name: &str, value: &str, path: Option<&str>, why: &str, source: &str) {
        let value_if_unset = format!("export {name}=\"${{{name}-{}}}\"", in_quotes(value));
        self.line(match path {
            Some(path) => format!("if [ -e {} ]; then {value_if_unset}; fi", quote(path)),
            None => value_if_unset,
        });
        let value = Some(value.to_owned());
        self.settings
            .add(SettingKind::Variable, name, value, why, source);
    }
}

/// Escapes a text for double quotes in a shell. `${NAME}` stays, and the shell expands it.
fn in_quotes(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\\', '`', '$', '}']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let variable = rest
            .strip_prefix("${")
            .and_then(|inner| inner.find('}'))
            .map(|end| end + 3);
        if let Some(end) = variable {
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        } else {
            out.push('\\');
            out.push_str(&rest[..1]);
            rest = &rest[1..];
        }
    }
    out + rest
}

#[cfg(test)]
mod tests;
