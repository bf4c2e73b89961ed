//! Responsible for `--submit`, which makes a build run as a job of Slurm or PBS.

use std::{ffi::OsString, process::ExitCode};

use clap::Args;
use condense_build::{Submission, SubmittedCommand};
use condense_catalogue::Site;
use condense_diagnostics::UserError;
use condense_env_vars::{self as env_vars, EnvVars};
use condense_jobs::TimeLimit;

use super::{Context, account::find_account};

/// Options of all commands that build.
#[derive(Debug, Args)]
pub(super) struct SubmitArguments {
    /// build in a job of Slurm or PBS, with the site's partition and memory, and wait for it;
    /// OPTIONS are further options of sbatch or qsub
    #[arg(
        long,
        value_name = "OPTIONS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        allow_hyphen_values = true
    )]
    submit: Option<String>,
    /// time limit of the job, such as 30, 2:00:00 or 1-00:00:00
    #[arg(long, value_name = "TIME", requires = "submit")]
    time: Option<TimeLimit>,
}

impl SubmitArguments {
    /// Returns the options as words of a command line.
    pub(super) fn words(&self) -> impl Iterator<Item = OsString> {
        let submit = self.submit.iter().map(|text| format!("--submit={text}"));
        let time = self
            .time
            .iter()
            .map(|time| format!("--time={}", time.slurm()));
        submit.chain(time).map(OsString::from)
    }

    /// Returns the job that the user asks for. A build that runs in such a job asks for none.
    ///
    /// # Errors
    /// Returns an error if the site needs a project and the user has none or several.
    pub(super) fn submission(
        &self,
        site: &Site,
        env_vars: &EnvVars,
    ) -> anyhow::Result<Option<Submission>> {
        let Some(text) = &self.submit else {
            return Ok(None);
        };
        if env_vars.get(env_vars::CONDENSE_SUBMITTED).is_some() {
            return Ok(None);
        }
        let options: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let names_account = options
            .iter()
            .any(|word| word.starts_with("-A") || word.starts_with("--account"));
        let account = if names_account {
            None
        } else {
            find_account(None, &site.job, env_vars, "--submit=--account=NAME")?
        };
        Ok(Some(Submission {
            site: site.name.clone(),
            rules: site.job.clone(),
            time: self.time,
            account,
            options,
        }))
    }
}

/// Runs the command of this process as a job, or shows the script of the job in a dry run.
///
/// # Errors
/// Returns an error if a word of the command line is not UTF-8, or if the job cannot run.
pub(super) fn run(
    submission: &Submission,
    is_dry_run: bool,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let words = words(context.argv)?;
    let dir = &context.env_vars.cwd;
    if is_dry_run {
        let script = submission.script(&words, dir, &dir.join(".condense-job"))?;
        context.console.data(script.render().trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let status = submission.run(
        SubmittedCommand {
            words: &words,
            dir,
            output: &mut context.console.bytes(),
            errors: &mut crate::console::Console::error_bytes(),
        },
        context.report,
        context.interrupt,
    )?;
    Ok(ExitCode::from(status))
}

/// Returns the command of this process with the path of the program, so that the job finds it.
fn words(argv: &[OsString]) -> anyhow::Result<Vec<String>> {
    let program = std::env::current_exe()?.into_os_string();
    let dialect = super::dialect_word(argv).map(OsString::from);
    let rest = argv.get(1..).unwrap_or_default().iter().cloned();
    let all = std::iter::once(program).chain(dialect).chain(rest);
    all.map(|word| {
        word.into_string().map_err(|word| {
            UserError::new(
                format!(
                    "`{}` is not UTF-8, as words of a script must be",
                    word.display()
                ),
                "build without `--submit`, or give the file another name",
            )
            .into()
        })
    })
    .collect()
}
