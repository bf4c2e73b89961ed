#![allow(clippy::unwrap_used)]
use super::in_quotes;
use crate::{BatchScript, JobRules, JobSite, Request, Scheduler};

#[test]
fn any_shell_code_can_ask_for_nodes() {
    let rules = JobRules {
        scheduler: Some(Scheduler::Slurm),
        ..JobRules::default()
    };
    let site = JobSite {
        name: "here",
        rules: &rules,
    };
    let request = Request {
        nodes: 1,
        cpus_per_task: Some(4),
        memory_gib: Some(16),
        name: Some("build".to_owned()),
        ..Request::default()
    };
    let resources = site.resources(&request, false).unwrap();
    let mut script = BatchScript::asking_for(site, &request, &resources).unwrap();
    script.line("condense build");
    let expected = "#!/bin/bash\n#SBATCH --job-name=build\n#SBATCH --nodes=1\n\
        #SBATCH --ntasks-per-node=1\n#SBATCH --cpus-per-task=4\n#SBATCH --mem=16G\n\
        #SBATCH --time=01:00:00\n\ncondense build\n";
    assert_eq!(script.render(), expected);
}

#[test]
fn texts_are_escaped_for_double_quotes() {
    for (text, expected) in [
        (
            "/tmp/${USER}-${SLURM_JOB_ID}",
            "/tmp/${USER}-${SLURM_JOB_ID}",
        ),
        ("AWS Libfabric", "AWS Libfabric"),
        ("a\"b`c$d\\}", "a\\\"b\\`c\\$d\\\\\\}"),
        ("${X", "\\${X"),
    ] {
        assert_eq!(in_quotes(text), expected, "{text}");
    }
}
