//! Responsible for parsing one requirement of pip: a name with a version, a URL or
//! a path. No file is read.

/// Form of a requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Requirement {
    /// Name of a package, with extras, versions and marker.
    Name,
    /// URL of an archive or repository, with or without a name before it.
    Url {
        url: String,
        /// True if a marker follows the URL, so that the requirement is for some machines only.
        marker: bool,
    },
    /// Path on this machine: the text before the path (`name @ `), the path, and
    /// the text that follows it.
    Path {
        before: String,
        path: String,
        after: String,
    },
}

/// File name endings of archives that pip installs.
const ARCHIVES: [&str; 8] = [
    ".whl", ".zip", ".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tbz", ".tar.xz",
];
const SCHEMES: [&str; 3] = ["http", "https", "file"];
const REPOSITORIES: [&str; 4] = ["git", "hg", "svn", "bzr"];
/// Digests that pip accepts, with their numbers of hexadecimal digits.
const HASHES: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];
/// Options that may follow a requirement on its line.
const OPTIONS: [&str; 4] = [
    "--hash",
    "--config-settings",
    "--config-setting",
    "--global-option",
];

/// Parses a requirement without its options.
pub(super) fn parse(text: &str) -> Result<Requirement, String> {
    let text = text.trim();
    if let Some((name, rest)) = before_at(text) {
        check_name(name.trim_end(), text)?;
        return located(&format!("{} @ ", name.trim_end()), rest.trim_start(), text);
    }
    let first = text.split([' ', ';']).next().unwrap_or("");
    if first.contains("://") || looks_like_path(first) {
        return located("", text, text);
    }
    let (requirement, marker) = match text.split_once(';') {
        Some((requirement, marker)) => (requirement.trim_end(), Some(marker.trim())),
        None => (text, None),
    };
    if let Some(marker) = marker {
        check_marker(marker)?;
    }
    let name_end = requirement
        .find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)))
        .unwrap_or(requirement.len());
    let (name, rest) = requirement.split_at(name_end);
    check_name(name, text)?;
    check_versions(without_extras(rest.trim_start())?, text)?;
    Ok(Requirement::Name)
}

/// Splits `name @ URL` into the name and the rest. `git+ssh://git@host` does not have this form.
fn before_at(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once('@')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-[], \t".contains(c);
    (name.chars().all(is_name) && !name.trim().is_empty()).then_some((name, rest))
}

fn located(before: &str, text: &str, whole: &str) -> Result<Requirement, String> {
    // A marker behind a URL has a blank before its semicolon, since a URL may contain semicolons.
    let (location, marker) = match text.find([' ', '\t']) {
        Some(at) if text[at..].trim_start().starts_with(';') => text.split_at(at),
        _ => (text, ""),
    };
    if let Some(marker) = marker.trim_start().strip_prefix(';') {
        check_marker(marker.trim())?;
    }
    if let Some((scheme, _)) = location.split_once("://") {
        if location.contains(char::is_whitespace) {
            return Err(format!("`{whole}`: a URL has no blanks"));
        }
        let kind = scheme.split('+').next().unwrap_or(scheme);
        let known = if scheme.contains('+') {
            REPOSITORIES.contains(&kind)
        } else {
            SCHEMES.contains(&scheme)
        };
        if !known {
            return Err(format!(
                "`{scheme}://` is nothing that pip installs from: expected http, https, file, or a repository like `git+https://`"
            ));
        }
        if super::super::package::is_archive(location) && !location.contains(".tar.bz2") {
            return Err(format!(
                "`{whole}` is a conda package: it belongs under `dependencies:`, not to pip"
            ));
        }
        return Ok(Requirement::Url {
            url: location.to_owned(),
            marker: !marker.is_empty(),
        });
    }
    if location.is_empty() {
        return Err(format!("`{whole}`: expected a URL or a path behind `@`"));
    }
    let (path, extras) = match location.find('[') {
        Some(at) if location.ends_with(']') => location.split_at(at),
        _ => (location, ""),
    };
    without_extras(extras)?;
    Ok(Requirement::Path {
        before: before.to_owned(),
        path: path.to_owned(),
        after: format!("{extras}{marker}"),
    })
}

/// Returns true if pip takes the word for a path: it contains a slash, begins with a dot, or has
/// the ending of an archive.
fn looks_like_path(word: &str) -> bool {
    let word = word.split('[').next().unwrap_or(word);
    word.starts_with('.') || word.contains('/') || ARCHIVES.iter().any(|end| word.ends_with(end))
}

fn check_name(name: &str, whole: &str) -> Result<(), String> {
    let bare = name.split('[').next().unwrap_or(name).trim_end();
    without_extras(&name[bare.len()..])?;
    let plain = |c: char| c.is_ascii_alphanumeric();
    let valid = bare.starts_with(plain)
        && bare.ends_with(plain)
        && bare.chars().all(|c| plain(c) || "._-".contains(c));
    if valid {
        Ok(())
    } else {
        Err(format!(
            "`{whole}` is no requirement for pip: expected a package's name, a URL or a path"
        ))
    }
}

/// Returns the text behind `[extra, other]`, after checking the names of the extras.
fn without_extras(text: &str) -> Result<&str, String> {
    let text = text.trim_start();
    let Some(inside) = text.strip_prefix('[') else {
        return Ok(text);
    };
    let (extras, rest) = inside
        .split_once(']')
        .ok_or_else(|| format!("`{text}`: expected `]` behind the extras"))?;
    let valid = |extra: &str| {
        let extra = extra.trim();
        extra.starts_with(|c: char| c.is_ascii_alphanumeric())
            && extra
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    if extras.trim().is_empty() || extras.split(',').all(valid) {
        Ok(rest.trim_start())
    } else {
        Err(format!(
            "`[{extras}]`: expected names of extras with commas between them"
        ))
    }
}

fn check_versions(text: &str, whole: &str) -> Result<(), String> {
    let text = text.trim();
    let text = text
        .strip_prefix('(')
        .and_then(|inner| inner.strip_suffix(')'))
        .unwrap_or(text);
    if text.is_empty() {
        return Ok(());
    }
    for part in text.trim_end_matches(',').split(',') {
        let part = part.trim();
        let operator_end = part
            .find(|c: char| !"=<>!~".contains(c))
            .unwrap_or(part.len());
        let (operator, version) = part.split_at(operator_end);
        let version = version.trim_start();
        match operator {
            "==" | "!=" | ">=" | "<=" | "~=" | ">" | "<" | "===" => {}
            "=" => {
                return Err(format!(
                    "`{whole}`: pip knows no single `=`, expected `==` (conda's packages belong under `dependencies:`)"
                ));
            }
            _ => {
                return Err(format!(
                    "`{whole}`: expected an operator like `==` or `>=` before `{}`",
                    if part.is_empty() { text } else { part }
                ));
            }
        }
        let valid = version.starts_with(|c: char| c.is_ascii_alphanumeric())
            && version
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || ".-_+!*".contains(c));
        if !valid {
            return Err(format!("`{whole}`: expected a version behind `{operator}`"));
        }
    }
    Ok(())
}

fn check_marker(marker: &str) -> Result<(), String> {
    let compares = ["==", "!=", ">", "<", "~=", " in "]
        .iter()
        .any(|operator| marker.contains(operator));
    let quotes = marker.matches(['"', '\'']).count();
    if compares && quotes >= 2 && quotes.is_multiple_of(2) {
        Ok(())
    } else {
        Err(format!(
            "`; {marker}` is no marker: expected something like `; python_version < '3.11'`"
        ))
    }
}

/// Checks the options that follow a requirement on its line.
pub(super) fn check_options(text: &str) -> Result<(), String> {
    let words = super::words(text)?;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        if name != "-C" && !OPTIONS.contains(&name) {
            return Err(format!(
                "`{name}` cannot stand behind a requirement, only `--hash` and `--config-settings` can"
            ));
        }
        let Some(value) = value.or_else(|| words.next().cloned()) else {
            return Err(format!("`{name}` needs a value"));
        };
        if name == "--hash" {
            check_hash(&value)?;
        }
    }
    Ok(())
}

fn check_hash(value: &str) -> Result<(), String> {
    let (algorithm, digits) = value.split_once(':').unwrap_or((value, ""));
    let fits = HASHES.iter().any(|(name, length)| {
        *name == algorithm
            && digits.len() == *length
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    if fits {
        Ok(())
    } else {
        Err(format!(
            "`--hash={value}`: expected `sha256:` with 64 hexadecimal digits, or sha384, sha512"
        ))
    }
}
