//! Tests each kind of command line that Tykky's commands accept, in a table of command lines and
//! their outcomes. No argument may be silently ignored.
#![allow(clippy::unwrap_used)]

use std::{ffi::OsString, sync::Arc};

use super::{Command, Dialect, conda_containerize, dialect, pip_containerize, wrap};
use crate::console::Console;
use condense_env_vars::EnvVars;

/// Returns the outcome of a command line. The first value is its kind: `plan`, `help`, `usage`,
/// `run` or `refused`. The second value is the text of the plan, help or error.
fn outcome(line: &str) -> (String, String) {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs_err::write(dir.path().join(name), text).unwrap();
    write("env.yml", "dependencies: [python]\n");
    write("env.yaml", "dependencies: [python]\n");
    write("x.yml.txt", "dependencies: [python]\n");
    write(
        "explicit.txt",
        "@EXPLICIT\nhttps://h/c/linux-64/a-1-0.conda\n",
    );
    write("req.txt", "rich\n");
    write(
        "conda.yml",
        "env_file: env.yml\nrequirements_file: req.txt\ninstallation_prefix: p\nmamba: yes\nuse_uv: no\npipcache: no\n\
         pre_install: []\npost_install: [{file: a.sh}]\nwrapper_paths: [/opt/x, y]\nnum_cpus: 4\nmode: conda\n\
         installation_file_paths: [env.yml, a.sh]\ncontainer_src: /other.sif\n",
    );
    write(
        "pip.yml",
        "requirements_file: req.txt\nenable_site_packages: yes\nextra_envs:\n  - file: b.sh\nisolate: yes\n",
    );
    write("odd.yml", "env_file: env.yml\nodd_key: 1\n");
    write(
        "shell.yml",
        "env_file: env.yml\npost_install: [make]\nextra_envs:\n- {type: set, name: A, value: 1}\n- file: b.sh\npre_install: [{file: a.sh}]\n",
    );
    write(
        "list.yml",
        "env_file: env.yml\npre_install: [{run: make}]\n",
    );
    write(
        "type.yml",
        "env_file: env.yml\n\nextra_envs: [{type: unset, name: A, value: 1}]\n",
    );
    write(
        "name.yml",
        "env_file: env.yml\nextra_envs: {type: set, name: 1A, value: 1}\n",
    );
    write(
        "file.yml",
        "env_file: env.yml\npost_install: [{file: no.sh}]\n",
    );
    write("empty.yml", "mamba: yes\n");
    write("a.sh", "true\n");
    write("b.sh", "true\n");
    write("site.yml", "defaults: {container_src: /site.sif}\n");
    fs_err::create_dir(dir.path().join("software")).unwrap();
    let site = dir.path().join("site.yml").display().to_string();
    let mut env_vars = EnvVars::of(&[("CW_GLOBAL_YAML", &site)]);
    env_vars.cwd = dir.path().to_owned();
    let console = Console::new(&EnvVars::of(&[("CW_LOG_LEVEL", "0")]), Arc::default());
    let argv: Vec<OsString> = line
        .split(' ')
        .filter(|word| !word.is_empty())
        .map(OsString::from)
        .collect();
    let parsed = match dialect(&argv) {
        Dialect::CondaContainerize(words) => conda_containerize::parse(&words, &env_vars, &console),
        Dialect::PipContainerize(words) => pip_containerize::parse(&words, &env_vars, &console),
        Dialect::Wrap(tool, words) => wrap::parse(tool, &words, &env_vars, &console),
        other => panic!("{other:?}"),
    };
    let here = format!("{}/", dir.path().display());
    let (kind, text) = match parsed {
        Ok(Command::Build(plan)) => ("plan", plan.to_string()),
        Ok(Command::Update(plan)) => ("plan", plan.to_string()),
        Ok(Command::Wrap(plan)) => ("plan", plan.to_string()),
        Ok(Command::Print(text)) => ("help", text),
        Ok(Command::Usage(text)) => ("usage", text),
        Ok(Command::Run(_)) => ("run", String::new()),
        Err(error) => ("refused", format!("{error:#}")),
    };
    (kind.to_owned(), text.replace(&here, ""))
}

#[test]
fn every_row_of_tykky_s_command_lines() {
    for (line, kind, all_of) in [
        // Behaviour of argparse.
        (
            "conda-containerize",
            "help",
            &["show this help message", "usage:"][..],
        ),
        ("conda-containerize -h", "help", &["show this help message"]),
        (
            "conda-containerize new --help",
            "help",
            &["--post-install", "--requirement"],
        ),
        (
            "conda-containerize new",
            "usage",
            &["the following arguments are required"],
        ),
        (
            "conda-containerize new --pre x env.yml",
            "usage",
            &["--pre"],
        ),
        ("conda-containerize frob", "usage", &["frob"]),
        (
            "conda-containerize new --post=a.sh env.yml --pref p",
            "plan",
            &["post-install  a.sh", "installation  p"],
        ),
        // The last of repeated options wins.
        (
            "conda-containerize new --prefix q --mamba --mamba env.yml --prefix p",
            "plan",
            &["installation  p"],
        ),
        // The verb `conda-containerize new`.
        (
            "conda-containerize new --prefix p env.yml",
            "plan",
            &[
                "environment   env.yml",
                "installation  p",
                "/site.sif (the host's",
            ],
        ),
        (
            "conda-containerize new env.yaml --mamba",
            "plan",
            &["environment   env.yaml"],
        ),
        (
            "conda-containerize new x.yml.txt --mam",
            "plan",
            &["environment   x.yml.txt"],
        ),
        (
            "conda-containerize new explicit.txt",
            "plan",
            &["environment   explicit.txt"],
        ),
        (
            "conda-containerize new no.yml",
            "refused",
            &["Env file no.yml does not exist"],
        ),
        (
            "conda-containerize new --uv env.yml",
            "plan",
            &["for pip       uv"],
        ),
        (
            "conda-containerize new --mamba --uv env.yml",
            "plan",
            &["for pip       uv"],
        ),
        (
            "conda-containerize new --nocache env.yml",
            "plan",
            &["pip's cache   none"],
        ),
        (
            "conda-containerize new --pre-install a.sh --post-install b.sh env.yml",
            "plan",
            &["pre-install   a.sh", "post-install  b.sh"],
        ),
        (
            "conda-containerize new --environ a.sh env.yml",
            "plan",
            &["environ       a.sh"],
        ),
        (
            "conda-containerize new --env a.sh env.yml",
            "plan",
            &["environ       a.sh"],
        ),
        (
            "conda-containerize new -w a,/b env.yml",
            "plan",
            &["programs of   a\n", "programs of   /b\n"],
        ),
        (
            "conda-containerize new -wa env.yml",
            "plan",
            &["programs of   a\n"],
        ),
        (
            "conda-containerize new --wrapper a env.yml",
            "plan",
            &["programs of   a\n"],
        ),
        (
            "conda-containerize new -r req.txt env.yml",
            "plan",
            &["requirements  req.txt"],
        ),
        (
            "conda-containerize new -rreq.txt env.yml",
            "plan",
            &["requirements  req.txt"],
        ),
        (
            "conda-containerize new --req req.txt env.yml",
            "plan",
            &["requirements  req.txt"],
        ),
        (
            "conda-containerize new --requirement=req.txt env.yml",
            "plan",
            &["requirements  req.txt"],
        ),
        // The verbs `update` and `advanced`.
        (
            "conda-containerize update dir --pre a.sh --post=b.sh -w bin --env a.sh --nocache -rreq.txt",
            "plan",
            &[
                "changes       dir",
                "requirements  req.txt",
                "pre-install   a.sh",
                "post-install  b.sh",
                "environ       a.sh",
                "pip's cache   none",
                "programs of   bin",
            ],
        ),
        (
            "conda-containerize update --requirement req.txt dir",
            "plan",
            &["requirements  req.txt"],
        ),
        (
            "pip-containerize update --requirements-file req.txt dir",
            "plan",
            &["changes       dir", "requirements  req.txt"],
        ),
        (
            "pip-containerize update dir --req=req.txt --compression zstd:19",
            "plan",
            &["requirements  req.txt", "packed anew, zstd:19"],
        ),
        ("conda-containerize update", "usage", &["dir"]),
        (
            "conda-containerize update --help",
            "help",
            &["show this help message", "--requirement", "--post-install"],
        ),
        (
            "conda-containerize update dir env.yml",
            "usage",
            &["env.yml"],
        ),
        (
            "conda-containerize update --mamba dir",
            "usage",
            &["--mamba"],
        ),
        (
            "conda-containerize update --prefix p dir",
            "usage",
            &["--prefix"],
        ),
        ("pip-containerize update --uv dir", "usage", &["--uv"]),
        (
            "pip-containerize update -r none.txt dir",
            "refused",
            &["Requirements file none.txt does not exist"],
        ),
        (
            "conda-containerize advanced conda.yml --dry-run",
            "plan",
            &[
                "environment   env.yml",
                "requirements  req.txt",
                "installation  p",
                "post-install  a.sh",
                "pip's cache   none",
                "/other.sif (the host's",
                "/opt/x",
            ],
        ),
        (
            "pip-containerize advanced pip.yml --force",
            "plan",
            &["req.txt", "environ       b.sh", "/site.sif (its own"],
        ),
        (
            "conda-containerize advanced odd.yml",
            "refused",
            &["odd.yml:2: `odd_key`", "not followed"],
        ),
        (
            "conda-containerize advanced shell.yml",
            "plan",
            &[
                "pre-install   a.sh",
                "post-install  shell.yml:post_install",
                "environ       shell.yml:extra_envs",
            ],
        ),
        (
            "conda-containerize advanced list.yml",
            "refused",
            &["list.yml:2: `pre_install`", "entry 1 is neither a command"],
        ),
        (
            "conda-containerize advanced type.yml",
            "refused",
            &[
                "type.yml:3: `extra_envs`",
                "entry 1",
                "`type: unset` is not",
            ],
        ),
        (
            "conda-containerize advanced name.yml",
            "refused",
            &["`1A` is not a name"],
        ),
        (
            "conda-containerize advanced file.yml",
            "refused",
            &["file.yml:2: `post_install`", "no.sh does not exist"],
        ),
        (
            "conda-containerize advanced empty.yml",
            "refused",
            &["has no `env_file`"],
        ),
        (
            "pip-containerize advanced conda.yml",
            "refused",
            &["`env_file`", "not followed"],
        ),
        ("conda-containerize advanced no.yml", "refused", &["no.yml"]),
        ("conda-containerize advanced", "usage", &["yaml"]),
        // The verb `pip-containerize new`.
        ("pip-containerize", "help", &["show this help message"]),
        (
            "pip-containerize new -h",
            "help",
            &["--system-site-packages", "--slim", "--pyver", "--uv"],
        ),
        (
            "pip-containerize new",
            "usage",
            &["the following arguments are required"],
        ),
        (
            "pip-containerize new --prefix p req.txt",
            "plan",
            &[
                "python        the first python3 on PATH\n",
                "installation  p",
            ],
        ),
        (
            "pip-containerize new no.txt",
            "refused",
            &["Requirements file no.txt does not exist"],
        ),
        (
            "pip-containerize new --sys req.txt",
            "plan",
            &["the first python3 on PATH, with its packages"],
        ),
        (
            "pip-containerize new --slim req.txt",
            "plan",
            &["docker://python:slim (its own", "python3 of the base"],
        ),
        (
            "pip-containerize new --slim --pyver 3.12 req.txt",
            "plan",
            &["docker://python:3.12-slim (its own"],
        ),
        (
            "pip-containerize new --uv --pyver 3.12 req.txt",
            "plan",
            &["uv's own, version 3.12", "for pip       uv"],
        ),
        (
            "pip-containerize new --uv --slim req.txt",
            "usage",
            &["cannot be used with"],
        ),
        (
            "pip-containerize new --py 3.12 req.txt",
            "plan",
            &["the first python3 on PATH"],
        ),
        (
            "pip-containerize new --nocache --post a.sh --pre-i b.sh --env a.sh -w x req.txt",
            "plan",
            &[
                "pip's cache   none",
                "post-install  a.sh",
                "pre-install   b.sh",
                "environ       a.sh",
                "programs of   x",
            ],
        ),
        // The command `wrap-container`.
        ("wrap-container", "help", &["--environ", "--wrapper-paths"]),
        (
            "wrap-container c.sif",
            "usage",
            &["the following arguments are required"],
        ),
        (
            "wrap-container -w /bin/a --prefix p c.sif",
            "plan",
            &[
                "wraps         c.sif",
                "programs of   /bin/a",
                "installation  p",
            ],
        ),
        (
            "wrap-container -w bin c.sif",
            "refused",
            &["is not an absolute path"],
        ),
        (
            "wrap-container -y site.yml --environ a.sh -w/bin/a c.sif",
            "plan",
            &["programs of   /bin/a"],
        ),
        (
            "wrap-container --yaml site.yml -w /a docker://x",
            "plan",
            &["wraps         docker://x"],
        ),
        // The command `wrap-install`.
        (
            "wrap-install",
            "help",
            &["--mask", "--post-install", "--pre-install", "--environ"],
        ),
        (
            "wrap-install software",
            "usage",
            &["the following arguments are required"],
        ),
        (
            "wrap-install -w bin --prefix p software",
            "plan",
            &["mount point   /LOCAL_TYKKY_", "programs of   bin"],
        ),
        (
            "wrap-install -w bin --mask software",
            "plan",
            &["mount point   software"],
        ),
        (
            "wrap-install -w bin --pre-install a.sh --post b.sh -y site.yml --environ a.sh software",
            "plan",
            &["programs of   bin"],
        ),
        (
            "wrap-install -w bin nowhere",
            "refused",
            &["nowhere is not a directory"],
        ),
    ] {
        let (found, text) = outcome(line);
        assert_eq!(found, kind, "{line}: {text}");
        for words in all_of {
            assert!(text.contains(words), "{line}: `{words}` is not in {text}");
        }
    }
}
