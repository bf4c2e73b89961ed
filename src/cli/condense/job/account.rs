//! Responsible for finding the project that pays for a job.

use std::process::{Command, Stdio};

use anyhow::bail;
use condense_diagnostics::UserError;
use condense_env_vars::{self as env_vars, EnvVars};
use condense_jobs::{Account, JobRules, Scheduler};

/// Returns the project that the user has named, else that of the variable of Slurm, else the only
/// one of the user's groups whose name is that of a project. `None` if the site needs none.
///
/// # Errors
/// Returns an error if the site needs a project, and the user has none or several.
pub(super) fn find_account(
    named: Option<&str>,
    rules: &JobRules,
    env_vars: &EnvVars,
) -> anyhow::Result<Option<Account>> {
    let account = |name: &str, source: &str| Account {
        name: name.to_owned(),
        source: source.to_owned(),
    };
    let is_slurm = rules.scheduler == Some(Scheduler::Slurm);
    let of_slurm = env_vars.get(env_vars::SBATCH_ACCOUNT).filter(|_| is_slurm);
    let found = named.map(|name| account(name, "--account"));
    let found = found.or_else(|| Some(account(of_slurm?, "$SBATCH_ACCOUNT")));
    if let Some(found) = found {
        let is_name = |it: char| it.is_alphanumeric() || "_.-".contains(it);
        if found.name.is_empty() || !found.name.chars().all(is_name) {
            bail!(UserError::new(
                format!("`{}` of {} is no project", found.name, found.source),
                "give the name of one project",
            ));
        }
        return Ok(Some(found));
    }
    let Some(pattern) = &rules.account else {
        return Ok(None);
    };
    let is_project = |name: &str| glob::Pattern::new(pattern).is_ok_and(|it| it.matches(name));
    let mut projects = groups();
    projects.retain(|name| is_project(name));
    projects.sort();
    projects.dedup();
    match &projects[..] {
        [only] => Ok(Some(account(only, "the only project of yours"))),
        [] => bail!(UserError::new(
            format!(
                "a job of this site needs a project, and no group of yours is called {pattern}"
            ),
            "name the project with `--account`",
        )),
        several => bail!(UserError::new(
            format!("you have several projects: {}", several.join(", ")),
            "name one with `--account`, or set SBATCH_ACCOUNT",
        )),
    }
}

/// Returns the names of the user's groups. The program `id` asks the services of the machine, which
/// a program that is linked statically cannot do.
fn groups() -> Vec<String> {
    let said = Command::new("id")
        .arg("-Gn")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let text = said.map(|said| said.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.split_whitespace().map(str::to_owned).collect()
}
