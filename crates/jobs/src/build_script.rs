//! Responsible for the batch script of a build: one process on one node, which runs the same
//! command as the user has typed.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    batch::{BatchScript, Directive, Scheduler, quote},
    error::{Error, Result},
    request::Account,
    resources::JobSite,
    rules::{JobRules, JobVariable},
    time_limit::TimeLimit,
};

/// Part of a site's rules for jobs: the job that builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildRules {
    /// Partition of Slurm or queue of PBS.
    pub partition: String,
    /// Number of cores of the job.
    pub cores: u32,
    /// Memory of the job in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_gib: Option<u32>,
    /// Time limit, unless the user names one.
    pub time: TimeLimit,
    /// Further options for the scheduler, as scripts have them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directives: Vec<String>,
    /// Variable with a directory on the node, which becomes TMPDIR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<String>,
}

/// Build that runs as a job.
#[derive(Debug, Clone, Copy)]
pub struct BuildJob<'a> {
    /// Time limit that the user has named.
    pub time: Option<TimeLimit>,
    /// Project that pays for the job.
    pub account: Option<&'a Account>,
    /// Directory in which the command runs.
    pub dir: &'a Path,
    /// Program and its arguments.
    pub command: &'a [String],
    /// Variables that the script sets, with their values.
    pub variables: &'a [(&'a str, String)],
    /// Mode mask of new files, in octal digits.
    pub umask: Option<&'a str>,
    /// Directory for the files of the job, which the nodes see as well.
    pub files: &'a Path,
}

/// File in the directory of a job with the standard output of its command.
pub const OUTPUT: &str = "output";
/// File in the directory of a job with the standard error of its command.
pub const ERRORS: &str = "errors";
/// File in the directory of a job with the messages of PBS.
pub const MESSAGES: &str = "messages";
/// File in the directory of a job with the exit status of its command.
pub const STATUS: &str = "status";

/// Writes the batch script of a build by the rules of a site.
///
/// # Errors
/// Returns an error if the site has no rules for jobs, or if the time limit is longer than that of
/// the partition.
pub fn build_script(site: JobSite<'_>, job: &BuildJob<'_>) -> Result<BatchScript> {
    let scheduler = site.scheduler()?;
    let rules = site.rules.build.as_ref();
    let time = job.time.or(rules.map(|rules| rules.time));
    if let Some((asked, rules)) = job.time.zip(rules)
        && let Some(partition) = site.rules.find(&rules.partition)
        && asked > partition.time
    {
        return Err(Error::Limit {
            asked: format!("`--time {}`", asked.slurm()),
            partition: rules.partition.clone(),
            limit: format!("jobs end after {}", partition.time.slurm()),
            advice: format!("give at most {}", partition.time.slurm()),
        });
    }
    let mut script = BatchScript::new(scheduler);
    match scheduler {
        Scheduler::Slurm => direct_slurm(&mut script, rules, time, job),
        Scheduler::Pbs => direct_pbs(&mut script, site, time, job),
    }
    for rule in site.rules.directives.iter().flatten() {
        script.direct(Directive::parse(&rule.option));
    }
    for option in rules.iter().flat_map(|rules| &rules.directives) {
        script.direct(Directive::parse(option));
    }
    write_commands(&mut script, site.rules, job);
    Ok(script)
}

fn direct_slurm(
    script: &mut BatchScript,
    rules: Option<&BuildRules>,
    time: Option<TimeLimit>,
    job: &BuildJob<'_>,
) {
    let mut direct = |option: &str, value: String| script.direct(Directive::new(option, value));
    direct("--job-name", "condense-build".to_owned());
    direct("--nodes", "1".to_owned());
    direct("--ntasks", "1".to_owned());
    if let Some(rules) = rules {
        direct("--partition", rules.partition.clone());
        direct("--cpus-per-task", rules.cores.to_string());
        if let Some(memory) = rules.memory_gib {
            direct("--mem", format!("{memory}G"));
        }
    }
    if let Some(time) = time {
        direct("--time", time.slurm());
    }
    if let Some(account) = job.account {
        direct("--account", account.name.clone());
    }
    // Slurm writes its own messages, such as that of a time limit, to the same files.
    let path = |name| {
        in_directive(
            &job.files
                .join(name)
                .display()
                .to_string()
                .replace('%', "%%"),
        )
    };
    direct("--output", path(OUTPUT));
    direct("--error", path(ERRORS));
}

fn direct_pbs(
    script: &mut BatchScript,
    site: JobSite<'_>,
    time: Option<TimeLimit>,
    job: &BuildJob<'_>,
) {
    let rules = site.rules.build.as_ref();
    let mut select = "1".to_owned();
    if let Some(rules) = rules {
        select.push_str(&format!(":ncpus={}", rules.cores));
        if let Some(memory) = rules.memory_gib {
            select.push_str(&format!(":mem={memory}gb"));
        }
    }
    if let Some(property) = &site.rules.select {
        select.push_str(&format!(":{property}"));
    }
    script.direct(Directive::new("-N", "condense-build"));
    script.direct(Directive::new("-l select", select));
    if let Some(time) = time {
        script.direct(Directive::new("-l walltime", time.pbs()));
    }
    if let Some(rules) = rules {
        script.direct(Directive::new("-q", &rules.partition));
    }
    if let Some(account) = job.account {
        script.direct(Directive::new("-A", &account.name));
    }
    script.direct(Directive::new("-j", "oe"));
    let messages = job.files.join(MESSAGES).display().to_string();
    script.direct(Directive::new("-o", in_directive(&messages)));
    // PBS passes no variables on without this option.
    script.direct(Directive::flag("-V"));
}

/// Quotes a value of an option in a script, as schedulers read it, if it has special characters.
fn in_directive(text: &str) -> String {
    if quote(text) == text {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn write_commands(script: &mut BatchScript, rules: &JobRules, job: &BuildJob<'_>) {
    let path = |name: &str| quote(&job.files.join(name).display().to_string());
    if script.scheduler() == Scheduler::Pbs {
        script.line(format!("exec >{} 2>{}", path(OUTPUT), path(ERRORS)));
    }
    script.line(format!(
        "cd {} || exit",
        quote(&job.dir.display().to_string())
    ));
    if let Some(umask) = job.umask {
        script.line(format!("umask {}", quote(umask)));
    }
    for words in rules.modules.iter().flatten() {
        script.line(format!("module {words}"));
    }
    for variable in rules.variables.iter().flatten() {
        let JobVariable { name, value, .. } = variable;
        script.line(format!("export {name}=\"${{{name}-{value}}}\""));
        if variable.directory {
            script.line(format!("mkdir -p \"${name}\""));
        }
    }
    for (name, value) in job.variables {
        script.line(format!("export {name}={}", quote(value)));
    }
    let build = rules.build.as_ref();
    if let Some(scratch) = build.and_then(|build| build.scratch.as_ref()) {
        script.line(format!(
            "if [ -d \"${{{scratch}-}}\" ]; then export TMPDIR=\"${scratch}\"; fi"
        ));
    }
    let words: Vec<String> = job.command.iter().map(|word| quote(word)).collect();
    script.line(words.join(" "));
    script.line("status=$?");
    // The file appears whole, so that nobody reads an empty one.
    script.line(format!("echo \"$status\" >{}", path("status.new")));
    script.line(format!("mv {} {}", path("status.new"), path(STATUS)));
    script.line("exit \"$status\"");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn render(rules: &str, time: Option<&str>) -> Result<String> {
        let rules: JobRules = toml::from_str(rules).unwrap();
        let site = JobSite {
            name: "here",
            rules: &rules,
        };
        let account = Account {
            name: "project_1".to_owned(),
            source: "--account".to_owned(),
        };
        let job = BuildJob {
            time: time.map(|time| time.parse().unwrap()),
            account: Some(&account),
            dir: "/home/it's me".as_ref(),
            command: &[
                "/opt/condense".to_owned(),
                "new".to_owned(),
                "a b".to_owned(),
            ],
            variables: &[("CONDENSE_SUBMITTED", "1".to_owned())],
            umask: Some("0027"),
            files: "/home/job".as_ref(),
        };
        build_script(site, &job).map(|script| script.render())
    }

    const SLURM: &str = "scheduler = 'slurm'\n\
        build = { partition = 'small', cores = 8, memory_gib = 32, time = '2:00:00', \
        directives = ['--gres=nvme:100'], scratch = 'LOCAL_SCRATCH' }\n\
        partition.small = { time = '12:00:00', nodes = 1, cores = 40 }\n";

    #[test]
    fn slurm_gets_the_site_s_partition_memory_and_scratch() {
        assert_eq!(
            render(SLURM, None).unwrap(),
            r#"#!/bin/bash
#SBATCH --job-name=condense-build
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --partition=small
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=02:00:00
#SBATCH --account=project_1
#SBATCH --output=/home/job/output
#SBATCH --error=/home/job/errors
#SBATCH --gres=nvme:100

cd '/home/it'\''s me' || exit
umask 0027
export CONDENSE_SUBMITTED=1
if [ -d "${LOCAL_SCRATCH-}" ]; then export TMPDIR="$LOCAL_SCRATCH"; fi
/opt/condense new 'a b'
status=$?
echo "$status" >/home/job/status.new
mv /home/job/status.new /home/job/status
exit "$status"
"#
        );
    }

    #[test]
    fn special_characters_of_paths_are_quoted_in_options() {
        assert_eq!(in_directive("/home/me/job"), "/home/me/job");
        assert_eq!(in_directive("/home/my dir"), "\"/home/my dir\"");
        assert_eq!(in_directive("/it's"), "\"/it's\"");
        assert_eq!(in_directive("/a\"b\\c"), "\"/a\\\"b\\\\c\"");
    }

    #[test]
    fn pbs_gets_its_own_words() {
        let rules = "scheduler = 'pbs'\nselect = 'system=big'\n\
            directives = [{ option = '-l place=scatter', why = 'rule' }]\n\
            modules = ['load apptainer']\n\
            variables = [{ name = 'TMP_OF_NODE', value = '/local/${USER}', why = 'disk', \
            directory = true }]\n\
            build = { partition = 'debug', cores = 32, time = '1:00:00', \
            directives = ['-l singularity_fakeroot=true'] }\n";
        let text = render(rules, Some("30")).unwrap();
        for line in [
            "#!/bin/bash -l",
            "#PBS -l select=1:ncpus=32:system=big",
            "#PBS -l walltime=00:30:00",
            "#PBS -q debug",
            "#PBS -A project_1",
            "#PBS -o /home/job/messages",
            "#PBS -V",
            "#PBS -l place=scatter",
            "#PBS -l singularity_fakeroot=true",
            "exec >/home/job/output 2>/home/job/errors",
            "module load apptainer",
            r#"export TMP_OF_NODE="${TMP_OF_NODE-/local/${USER}}""#,
            r#"mkdir -p "$TMP_OF_NODE""#,
        ] {
            assert!(text.lines().any(|it| it == line), "{line}: {text}");
        }
    }

    #[test]
    fn limits_and_unknown_sites_are_refused() {
        let error = render(SLURM, Some("1-00:00:00")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`--time 1-00:00:00` is not possible in `small`: jobs end after 12:00:00"
        );
        let error = render("", None).unwrap_err();
        assert!(matches!(error, Error::NoRules { .. }), "{error}");
        // A site without rules for builds leaves the choice to Slurm.
        let text = render("scheduler = 'slurm'", Some("10")).unwrap();
        assert!(
            !text.contains("--partition") && text.contains("--time=00:10:00"),
            "{text}"
        );
    }
}
