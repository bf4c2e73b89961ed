//! Responsible for lines for pip that begin with a dash.

/// One option with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Flag {
    /// `-r FILE`: a requirements file.
    Requirements(String),
    /// `-c FILE`: a file of constraints.
    Constraints(String),
    /// `-e PROJECT`, and the options behind it.
    Editable(String, String),
    /// `--find-links LOCATION`: a directory or page of archives.
    FindLinks(String),
    /// An option with a value that is no path.
    Value(&'static str, String),
    /// An option without a value.
    Plain(&'static str),
}

/// Options that pip reads in a requirements file: short name, long name, and true
/// if the option has a value.
const KNOWN: [(&str, &str, bool); 14] = [
    ("-r", "--requirement", true),
    ("-c", "--constraint", true),
    ("-e", "--editable", true),
    ("-f", "--find-links", true),
    ("-i", "--index-url", true),
    ("", "--pypi-url", true),
    ("", "--extra-index-url", true),
    ("", "--trusted-host", true),
    ("", "--no-binary", true),
    ("", "--only-binary", true),
    ("", "--use-feature", true),
    ("", "--no-index", false),
    ("", "--prefer-binary", false),
    ("", "--pre", false),
];
const REQUIRE_HASHES: &str = "--require-hashes";

/// Reads all options of a line.
pub(super) fn parse(text: &str) -> Result<Vec<Flag>, String> {
    let words = super::words(text)?;
    let mut flags = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let word = words[at].as_str();
        at += 1;
        if word == REQUIRE_HASHES {
            flags.push(Flag::Plain(REQUIRE_HASHES));
            continue;
        }
        let (long, inline) = find(word).ok_or_else(|| refused(word))?;
        let Some((_, name, has_value)) = KNOWN.iter().find(|(_, name, _)| *name == long) else {
            return Err(refused(word));
        };
        if !has_value {
            if inline.is_some() {
                return Err(format!("`{name}` takes no value"));
            }
            flags.push(Flag::Plain(name));
            continue;
        }
        let value = if let Some(value) = inline {
            value.to_owned()
        } else {
            let value = words.get(at).cloned();
            at += 1;
            value.unwrap_or_default()
        };
        if value.is_empty() || inline.is_none() && value.starts_with('-') {
            return Err(format!("`{name}` needs a value"));
        }
        flags.push(match *name {
            "--requirement" => Flag::Requirements(value),
            "--constraint" => Flag::Constraints(value),
            "--find-links" => Flag::FindLinks(value),
            "--editable" => {
                let rest: Vec<&str> = words[at..].iter().map(String::as_str).collect();
                let rest = rest.join(" ");
                super::requirement::check_options(&rest)?;
                at = words.len();
                Flag::Editable(value, rest)
            }
            name => Flag::Value(name, value),
        });
    }
    Ok(flags)
}

/// Returns the long name of an option, and its value if that is part of the same word.
fn find(word: &str) -> Option<(&'static str, Option<&str>)> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) if name.starts_with("--") => (name, Some(value)),
        _ => (word, None),
    };
    for (short, long, _) in KNOWN {
        if name == long || !short.is_empty() && name == short {
            return Some((long, value));
        }
        // `-rfile` means the same as `-r file`.
        if !short.is_empty()
            && !word.starts_with("--")
            && let Some(value) = word.strip_prefix(short)
        {
            return Some((long, Some(value)));
        }
    }
    None
}

fn refused(word: &str) -> String {
    let name = word.split('=').next().unwrap_or(word);
    if !name.starts_with('-') {
        return format!("`{name}`: expected an option, a requirement stands on a line of its own");
    }
    let names: Vec<String> = KNOWN
        .iter()
        .filter(|(_, name, _)| *name != "--pypi-url")
        .map(|(_, name, _)| format!("`{name}`"))
        .collect();
    format!(
        "`{name}` is no option that pip reads from a file; those are {}, `{REQUIRE_HASHES}`",
        names.join(", ")
    )
}
