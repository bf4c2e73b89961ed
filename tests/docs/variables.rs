//! Makes the page of environment variables out of the source that names them.

use std::fmt::Write as _;

/// One constant of the source.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    /// Names of the variable, the one that counts first.
    pub(crate) names: Vec<String>,
    /// Description without the name of the tool that the variable comes from.
    pub(crate) text: String,
    /// Tool that defines the variable, if it is not condense.
    pub(crate) tool: Option<String>,
}

/// Variables that wrappers read when a program starts. Their names are in shell files only.
pub(crate) const WRAPPERS: &[(&[&str], &str)] = &[
    (
        &["CW_EXTRA_BIND_MOUNTS"],
        "More binds, with commas or colons between them. Read under the host view only (Tykky).",
    ),
    (
        &["CW_NO_CONDA_ACTIVATE"],
        "The environment is not activated when set (Tykky).",
    ),
    (
        &["CW_FORCE_CONDA_ACTIVATE"],
        "The environment is activated when set, also in a virtual environment on top of it (Tykky).",
    ),
    (
        &["CW_NO_COMPOSITION"],
        "Other installations whose `bin` is on PATH are not shown in the container when set.",
    ),
    (
        &["CW_SHARE"],
        "Whether the tasks of a job step share one container on each node: `1` or `0`; default: where the step has several tasks on the node.",
    ),
    (
        &["CONDENSE_NO_USER_SITE"],
        "The user's own Python packages in `~/.local` are not visible when set, except to `0`.",
    ),
    (
        &["CONDENSE_PREFETCH"],
        "The part of the image that a start reads is read ahead by the first task of a node: `1` also in jobs on one node, `0` nowhere.",
    ),
    (
        &["CONDENSE_MPI"],
        "MPI of programs that need one: `host` or `image`.",
    ),
    (
        &["CONDENSE_MPI_LIBRARY"],
        "MPI library of the host for `CONDENSE_MPI=host`, instead of the newest one where the site keeps them.",
    ),
    (
        &["CW_KEEP_PYTHONPATH"],
        "PYTHONPATH of loaded modules is not removed when set (`pip-containerize`).",
    ),
    (
        &[
            "APPTAINER_BIND",
            "APPTAINER_BINDPATH",
            "SINGULARITY_BIND",
            "SINGULARITY_BINDPATH",
        ],
        "Binds of the user, which are merged with those of the wrapper.",
    ),
    (
        &["APPTAINERENV_*", "SINGULARITYENV_*"],
        "Variables of the container, as for the runtime itself.",
    ),
    (
        &["TMPDIR"],
        "Temporary directory, which is shown in the container if it exists.",
    ),
];

const HEAD: &str = "\
# Environment variables

```console
$ CONDENSE_SITE=lumi-c condense base sites
$ CONDENSE_JOBS=4 condense lock env.yml
```

This page is generated from the source. An option on the command line counts before its variable.
Values that are not UTF-8 count as not set. The page [network](network.md) has the configuration
file, the caches and the variables that build steps see; the page [exit codes](exit-codes.md) has
the signals.

Variables of pip and uv (`PIP_*`, `UV_*`) are passed to these tools. Variables that look like
credentials do not reach build steps, unless `--build-env` names them.
";

const WRAPPERS_HEAD: &str = "\
These variables count when a program starts through a wrapper, not during a build. A site adds
variables of its own ([base images and sites](bases-and-sites.md#what-the-site-changes)).

";

/// Reads the constants of the source with the documentation above each.
pub(crate) fn parse(source: &str) -> Vec<Variable> {
    let mut variables = Vec::new();
    let mut text: Vec<&str> = Vec::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if let Some(words) = line.strip_prefix("///") {
            text.push(words.trim());
        } else if line.starts_with("pub") && line.contains(" const ") {
            let mut constant = line.to_owned();
            while !constant.ends_with(';') {
                constant.push_str(lines.next().expect("a constant ends with a semicolon"));
            }
            let (_, value) = constant.split_once('=').expect("a constant has a value");
            let names = value.split('"').skip(1).step_by(2).map(str::to_owned);
            let names: Vec<String> = names.collect();
            let (text, tool) = without_tool(&text.join(" "));
            let tool = tool.or_else(|| tool_of_name(&names[0]));
            variables.push(Variable { names, text, tool });
        } else if !line.starts_with("#[") {
            text.clear();
        }
        if line.starts_with("pub") {
            text.clear();
        }
    }
    variables
}

/// Takes ` (Tykky)` out of `Scratch directory (Tykky).`
fn without_tool(text: &str) -> (String, Option<String>) {
    let Some(end) = text.find(").") else {
        return (text.to_owned(), None);
    };
    let Some(start) = text[..end].rfind(" (") else {
        return (text.to_owned(), None);
    };
    let tool = text[start + 2..end].to_owned();
    let text = format!("{}{}", &text[..start], &text[end + 1..]);
    (text, Some(tool))
}

/// Returns the tool that the beginning of a name stands for.
fn tool_of_name(name: &str) -> Option<String> {
    let known = [("CW_", "Tykky"), ("SINGULARITY_", "singularity")];
    let (_, tool) = known.iter().find(|(start, _)| name.starts_with(start))?;
    Some((*tool).to_owned())
}

/// Makes the page of all environment variables, grouped by the tools that define them.
pub(crate) fn environment_page(source: &str) -> String {
    let (mut own, mut tykky, mut tools, mut general) = (vec![], vec![], vec![], vec![]);
    for Variable { names, text, tool } in parse(source) {
        let row = |tool: Option<&str>| row(&names, tool, &text);
        match tool.as_deref() {
            _ if names[0].starts_with("CONDENSE_") => own.push(row(None)),
            Some("Tykky") => tykky.push(row(None)),
            Some(tool) => tools.push(row(Some(tool))),
            None => general.push(row(None)),
        }
    }
    let wrappers = WRAPPERS.iter().map(|(names, text)| row(names, None, text));
    let mut page = HEAD.to_owned();
    let wide = "| variable | defined by | meaning |\n|---|---|---|\n";
    let narrow = "| variable | meaning |\n|---|---|\n";
    for (title, head, rows) in [
        ("condense", narrow, own),
        ("Tykky", narrow, tykky),
        ("Other tools", wide, tools),
        ("General", narrow, general),
        ("Wrappers", narrow, wrappers.collect()),
    ] {
        let text = if title == "Wrappers" {
            WRAPPERS_HEAD
        } else {
            ""
        };
        let _ = write!(page, "\n## {title}\n\n{text}{head}{}", rows.concat());
    }
    page
}

/// Returns a row of a table.
fn row<Name: AsRef<str>>(names: &[Name], tool: Option<&str>, text: &str) -> String {
    let quoted: Vec<String> = names
        .iter()
        .map(|name| format!("`{}`", name.as_ref()))
        .collect();
    let tool = tool.map(|tool| format!("{tool} | ")).unwrap_or_default();
    let text = text.replace('|', "\\|");
    format!("| {} | {tool}{text} |\n", quoted.join(", "))
}

#[test]
fn variables_are_read_with_their_tools() {
    let source = "\
//! Names of the environment variables.

/// Scratch directory,
/// absolute (Tykky).
pub const CW_TMP: &str = \"CW_TMP\";
/// Proxy; the first that is set.
pub(crate) const PROXY: [&str; 2] =
    [\"proxy\", \"PROXY\"];
/// Directory (apptainer). More (not a tool) of it.
pub const KEYS: &str = \"KEYS\";
";
    let variable = |names: &[&str], text: &str, tool: Option<&str>| Variable {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        text: text.to_owned(),
        tool: tool.map(str::to_owned),
    };
    assert_eq!(
        parse(source),
        [
            variable(&["CW_TMP"], "Scratch directory, absolute.", Some("Tykky")),
            variable(&["proxy", "PROXY"], "Proxy; the first that is set.", None),
            variable(
                &["KEYS"],
                "Directory. More (not a tool) of it.",
                Some("apptainer")
            ),
        ]
    );
    let page = environment_page(source);
    assert!(page.contains("## Tykky\n\n| variable | meaning |\n|---|---|\n| `CW_TMP` |"));
    assert!(page.contains("## General\n\n| variable | meaning |\n|---|---|\n| `proxy`, `PROXY` |"));
    assert!(page.contains("\n| `KEYS` | apptainer | Directory. More"));
}
