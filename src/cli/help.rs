//! Responsible for the groups of options in the help of the builders, and for the examples at the
//! end of the help of every command. Man pages have the same groups and examples.

/// Headings of the help of the builders, each with the long names of its options.
const GROUPS: [(&str, &[&str]); 8] = [
    ("Job", &["submit", "time"]),
    (
        "Input",
        &[
            "channel",
            "conda-env",
            "interpreter",
            "keep-editable",
            "lock",
            "lock-environment",
            "mamba",
            "on-top",
            "os-packages",
            "packages",
            "pip",
            "pyver",
            "remove",
            "requirement",
            "requirements",
            "requirements-file",
            "slim",
            "system-site-packages",
            "update-all",
            "uv",
        ],
    ),
    (
        "Base and site",
        &[
            "base-image",
            "catalogue",
            "copy-base",
            "site",
            "system",
            "yaml",
        ],
    ),
    (
        "Image",
        &[
            "block-size",
            "compression",
            "copy",
            "layout",
            "mask",
            "mount-point",
            "mpi",
            "no-user-site",
            "no-warm",
            "warm",
        ],
    ),
    (
        "Scripts",
        &[
            "build-env",
            "environ",
            "post",
            "post-install",
            "pre-install",
        ],
    ),
    (
        "Definition file",
        &[
            "authfile",
            "bind",
            "build-arg",
            "build-arg-file",
            "disable-cache",
            "explain",
            "fakeroot",
            "fix-perms",
            "no-cleanup",
            "no-https",
            "no-root",
            "notest",
            "nv",
            "rocm",
            "section",
            "warn-unused-build-args",
        ],
    ),
    ("Network", &["jobs", "nocache", "offline"]),
    (
        "Output",
        &[
            "dry-run",
            "force",
            "json",
            "prefix",
            "tmpdir",
            "wrapper-paths",
            "yes",
        ],
    ),
];

/// Verbs of condense whose options have the headings of the builders.
const BUILDERS: [&str; 3] = ["build", "new", "update"];

/// Examples of each command without commands below it.
const EXAMPLES: &[(&str, [&str; 2])] = &[
    (
        "conda-containerize new",
        [
            "--prefix DIR --base-image base.sif env.yml",
            "--prefix DIR --lock condense.lock --post-install post.sh",
        ],
    ),
    (
        "conda-containerize update",
        [
            "-r more.txt DIR numpy=2",
            "--post-install post.sh --dry-run DIR",
        ],
    ),
    (
        "conda-containerize advanced",
        ["conf.yml", "--force conf.yml"],
    ),
    (
        "pip-containerize new",
        [
            "--prefix DIR requirements.txt",
            "--prefix DIR --slim --pyver 3.12 requirements.txt",
        ],
    ),
    (
        "pip-containerize update",
        ["-r more.txt DIR", "--dry-run --json -r more.txt DIR"],
    ),
    (
        "pip-containerize advanced",
        ["conf.yml", "--force conf.yml"],
    ),
    (
        "wrap-container",
        [
            "-w /usr/bin/python3 --prefix DIR base.sif",
            "-w /opt/tool/bin --prefix DIR docker://debian:12",
        ],
    ),
    (
        "wrap-install",
        [
            "-w bin --prefix DIR software",
            "-w bin --mask --base-image base.sif --prefix DIR software",
        ],
    ),
    (
        "cotainr build",
        [
            "image.sif --base-image=base.sif --conda-env=env.yml",
            "image.sif --system=lumi-g --conda-env=env.yml --accept-licenses",
        ],
    ),
    (
        "condense build",
        [
            "my.def image.sif --build-arg VERSION=2",
            "image.sif python=3.12 numpy --pip rich --base-image docker://debian:12",
        ],
    ),
    ("condense base facts", ["base.sif", "--json base.sif"]),
    ("condense base find", ["python=3.12", "--json rocm=6.2"]),
    ("condense base ls", ["", "--json"]),
    ("condense base show", ["debian", "--json debian"]),
    ("condense base sites", ["", "--json"]),
    (
        "condense check",
        ["--site lumi-g image.sif", "--log train_1234.txt"],
    ),
    ("condense doctor", ["", "--json"]),
    (
        "condense easyconfig",
        [
            "-o my-torch-1.eb --name my-torch --version 1 image.sif",
            "--json myenv",
        ],
    ),
    ("condense explain", ["mpi-abi", "--all"]),
    ("condense gc", ["NAME", "--keep 2 --dry-run DIR"]),
    (
        "condense image diff",
        ["old.sqfs new.sqfs", "--json old.sqfs new.sqfs"],
    ),
    ("condense image extract", ["image.sqfs DIR", "base.sif DIR"]),
    ("condense image info", ["image.sqfs", "--json base.sif"]),
    ("condense image ls", ["image.sqfs", "base.sif /usr/bin"]),
    (
        "condense image pack",
        ["DIR image.sqfs", "DIR image.sqfs --donor old.sqfs"],
    ),
    ("condense image verify", ["image.sqfs", "base.sif"]),
    ("condense info", ["NAME", "--json DIR"]),
    (
        "condense job masks",
        ["--site lumi-g", "--site lumi-g --cores 4 --order ccd"],
    ),
    ("condense list", ["", "--json"]),
    ("condense lock", ["env.yml", "env.yml -o condense.lock"]),
    (
        "condense pull",
        ["docker://debian:12 base.sif", "oci:DIR base.sif"],
    ),
    ("condense remove", ["NAME", "DIR"]),
    (
        "condense report",
        ["-o report.html DIR", "-o report.html --site lumi-g DIR"],
    ),
    ("condense rollback", ["NAME", "--to 1 DIR"]),
    ("condense shell", ["bash", "fish"]),
    (
        "condense sif add",
        [
            "--type partition --role overlay image.sif overlay.sqfs",
            "--type labels image.sif labels.json",
        ],
    ),
    ("condense sif del", ["image.sif 2", "image.sif 2 3"]),
    (
        "condense sif dump",
        ["image.sif 1", "-o build.def image.sif 1"],
    ),
    ("condense sif inspect", ["image.sif", "--json image.sif"]),
    ("condense sif list", ["image.sif", "--json image.sif"]),
    ("condense sif new", ["image.sif", "--slots 8 image.sif"]),
    (
        "condense sif sign",
        [
            "--key secret.asc image.sif",
            "--key secret.asc --group 1 image.sif",
        ],
    ),
    (
        "condense sif verify",
        ["image.sif", "--key public.asc image.sif"],
    ),
    ("condense spec", ["env.yml", "--json env.yml"]),
    (
        "condense stage",
        ["myenv", "--to /local/scratch --dry-run image.sif"],
    ),
    (
        "condense update",
        ["myenv numpy=2 --pip rich", "myenv --remove scipy"],
    ),
    ("condense verify", ["NAME", "--no-start DIR"]),
    ("condense cache info", ["", "--json"]),
    ("condense cache verify", ["", "--json"]),
    (
        "condense cache clean",
        ["--older-than 30d", "--images --dry-run"],
    ),
    (
        "condense diff",
        ["myenv@1 myenv", "--exit-code condense.lock image.sif"],
    ),
    (
        "condense export",
        [
            "-o environment.yml myenv",
            "--lock -o condense.lock image.sif",
        ],
    ),
    (
        "condense desktop",
        ["image.sif", "myenv --geometry 1920x1080 -- python plot.py"],
    ),
    ("condense help", ["image pack", "mpi-abi"]),
    ("condense config list", ["", "--json"]),
    ("condense config get", ["base-image", "--json channels"]),
    (
        "condense config set",
        [
            "base-image docker://debian:12",
            "channels conda-forge bioconda",
        ],
    ),
    ("condense config unset", ["site", "network.retries"]),
    (
        "condense kernel",
        ["myenv", "--display-name Analysis --dry-run image.sif"],
    ),
    (
        "condense search",
        ["numpy>=2", "--channel bioconda *torch*"],
    ),
    (
        "condense module",
        [
            "image.sif --name my-torch --to modules",
            "--dry-run --format tcl --to modules image.sif",
        ],
    ),
    (
        "condense new",
        [
            "myenv environment.yml",
            "myenv python=3.12 numpy --pip rich",
        ],
    ),
    (
        "condense packages",
        ["myenv", "--requested --sort size image.sif"],
    ),
    (
        "condense run",
        [
            "myenv python script.py",
            "image.sif -- python -c 'import numpy'",
        ],
    ),
    ("condense size", ["myenv", "--top 30 image.sif"]),
    (
        "condense tree",
        ["--depth 2 myenv", "--invert image.sif openssl"],
    ),
    (
        "condense user-software list",
        ["$CONTAINERROOT", "--json $CONTAINERROOT"],
    ),
    (
        "condense user-software pack",
        ["$CONTAINERROOT", "--remove $CONTAINERROOT"],
    ),
    (
        "condense user-software unpack",
        ["$CONTAINERROOT", "--edit $CONTAINERROOT"],
    ),
    (
        "condense why",
        ["myenv openssl", "image.sif typing-extensions"],
    ),
];

/// Adds examples to the commands of a program, and to those of a builder also groups of options.
/// Options in `ungrouped` get no heading.
pub(super) fn complete(
    command: clap::Command,
    program: &str,
    ungrouped: &'static [&'static str],
) -> clap::Command {
    let command = with_examples(command, program);
    if program == "condense" {
        command.mut_subcommands(|verb| {
            if BUILDERS.contains(&verb.get_name()) {
                with_capitals(with_groups(verb, ungrouped))
            } else {
                verb
            }
        })
    } else {
        with_groups(command, ungrouped)
    }
}

/// Begins the help of each option with a capital letter, as in all verbs of condense. Options that
/// the dialects share have small letters, as in Tykky.
fn with_capitals(command: clap::Command) -> clap::Command {
    command.mut_args(|option| {
        let Some(help) = option.get_help().map(ToString::to_string) else {
            return option;
        };
        let mut letters = help.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        option.help(first.into_iter().chain(letters).collect::<String>())
    })
}

/// Puts the options of the command, and of the commands below it, below their headings.
fn with_groups(command: clap::Command, ungrouped: &'static [&'static str]) -> clap::Command {
    let heading = |long: &str| group(long).filter(|_| !ungrouped.contains(&long));
    command
        .mut_args(|option| match option.get_long().and_then(heading) {
            Some(heading) => option.help_heading(heading),
            None => option,
        })
        .mut_subcommands(|below| with_groups(below, ungrouped))
}

/// Returns the heading of an option.
fn group(long: &str) -> Option<&'static str> {
    GROUPS
        .iter()
        .find(|(_, options)| options.contains(&long))
        .map(|(heading, _)| *heading)
}

/// Adds the examples to the command, which has these words, and to the commands below it.
fn with_examples(mut command: clap::Command, words: &str) -> clap::Command {
    if let Some((_, examples)) = EXAMPLES.iter().find(|(known, _)| *known == words) {
        let mut text = String::from("Examples:");
        for arguments in examples {
            text.push_str(format!("\n  {words} {arguments}").trim_end());
        }
        // A text that a command already has comes after the examples.
        if let Some(more) = command.get_after_help() {
            text.push_str(&format!("\n\n{more}"));
        }
        command = command.after_help(text);
    }
    let words = words.to_owned();
    command.mut_subcommands(move |below| {
        let words = format!("{words} {}", below.get_name());
        with_examples(below, &words)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::{DIALECTS, condense::definition_of};

    /// Calls the function for the command and all commands below it, with their words.
    fn visit(command: &clap::Command, words: &str, f: &mut dyn FnMut(&clap::Command, &str)) {
        f(command, words);
        for below in command.get_subcommands() {
            visit(below, &format!("{words} {}", below.get_name()), f);
        }
    }

    fn programs() -> impl Iterator<Item = &'static str> {
        std::iter::once("condense").chain(DIALECTS)
    }

    #[test]
    fn every_option_of_the_builders_has_a_group() {
        let others = [
            "accept-licenses",
            "help",
            "log-json",
            "log-to-file",
            "no-color",
            "quiet",
            "verbose",
            "version",
        ];
        let mut seen = BTreeSet::new();
        let house = definition_of("condense");
        let house = house
            .get_subcommands()
            .filter(|verb| BUILDERS.contains(&verb.get_name()));
        let builders = house.cloned().map(|verb| (verb, "condense"));
        let dialects = DIALECTS.map(|name| (definition_of(name), name));
        for (builder, name) in builders.chain(dialects) {
            visit(&builder, name, &mut |command, words| {
                let shown = command.get_arguments().filter(|it| !it.is_hide_set());
                for option in shown.filter_map(clap::Arg::get_long) {
                    let known = group(option).is_some() || others.contains(&option);
                    assert!(known, "{words}: --{option} has no group");
                    seen.insert(option.to_owned());
                }
            });
        }
        for option in GROUPS.iter().flat_map(|(_, options)| *options) {
            assert!(seen.contains(*option), "no builder has --{option}");
        }
    }

    #[test]
    fn every_command_has_examples_that_it_understands() {
        let mut problems = Vec::new();
        let mut left: BTreeSet<&str> = EXAMPLES.iter().map(|(words, _)| *words).collect();
        for name in programs() {
            let program = definition_of(name);
            visit(&program, name, &mut |command, words| {
                if command.has_subcommands() || words == "cotainr info" {
                    return;
                }
                let known = EXAMPLES.iter().find(|(known, _)| *known == words);
                let (_, examples) = known.unwrap_or_else(|| panic!("{words} has no examples"));
                for arguments in examples {
                    let line = format!("{words} {arguments}");
                    let line = line.split_whitespace();
                    if let Err(error) = program.clone().try_get_matches_from(line) {
                        problems.push(format!("{words} {arguments}: {error}"));
                    }
                }
                left.remove(words);
            });
        }
        assert!(problems.is_empty(), "{}", problems.join("\n"));
        assert_eq!(left, BTreeSet::new(), "examples of commands that are gone");
    }

    /// Commands of `condense` without `--json`, each with the reason.
    const WITHOUT_JSON: [(&str, &str); 9] = [
        ("condense config set", "it prints no result"),
        ("condense config unset", "it prints no result"),
        ("condense user-software pack", "it prints no result"),
        ("condense user-software unpack", "it prints no result"),
        ("condense help", "its result is a text for people"),
        ("condense report", "its result is a page for people"),
        ("condense run", "its output is that of the program"),
        ("condense shell", "its result is code for a shell"),
        ("condense sif dump", "its result is the bytes of an object"),
    ];

    #[test]
    fn every_command_has_json_or_a_reason() {
        let mut left: BTreeSet<&str> = WITHOUT_JSON.iter().map(|(words, _)| *words).collect();
        let mut program = definition_of("condense");
        program.build();
        visit(&program, "condense", &mut |command, words| {
            if command.has_subcommands() {
                return;
            }
            let mut options = command.get_arguments().filter_map(clap::Arg::get_long);
            let has_json = options.any(|long| long == "json");
            let is_excused = left.remove(words);
            assert_ne!(has_json, is_excused, "{words}");
        });
        assert_eq!(left, BTreeSet::new(), "commands that are gone");
    }
}
