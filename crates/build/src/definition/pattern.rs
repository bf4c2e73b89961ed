//! Responsible for patterns in the lines of `%files`: `*`, `?`, `[…]`, `**` and `{…}`, as a shell
//! reads them.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// Maximum number of words of one pattern with braces.
const WORDS_MAX: usize = 10_000;

/// Returns the paths that match a pattern, sorted, or the text itself where nothing matches. `list`
/// returns the names in a directory, and nothing for anything else.
pub(super) fn expand(pattern: &str, list: &dyn Fn(&Path) -> Vec<OsString>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for word in braces(pattern) {
        let mut found = matching(word.as_bytes(), list);
        if found.is_empty() {
            found.push(unescaped(word.as_bytes()));
        }
        paths.extend(found);
    }
    paths
}

/// Returns the paths that match a pattern without braces.
fn matching(pattern: &[u8], list: &dyn Fn(&Path) -> Vec<OsString>) -> Vec<PathBuf> {
    if !has_pattern(pattern) {
        return Vec::new();
    }
    let ends_with_slash = pattern.ends_with(b"/");
    let begin = if pattern.starts_with(b"/") { "/" } else { "" };
    let mut found = vec![PathBuf::from(begin)];
    let names = pattern.split(|byte| *byte == b'/');
    for name in names.filter(|name| !name.is_empty()) {
        let mut next = Vec::new();
        for path in found {
            if name == b"**" {
                below(&path, list, &mut next);
            } else if has_pattern(name) {
                let names = list(&path).into_iter();
                let names = names.filter(|found| {
                    let is_hidden = found.as_bytes().starts_with(b".") && name[0] != b'.';
                    !is_hidden && matches(name, found.as_bytes())
                });
                next.extend(names.map(|found| path.join(found)));
            } else {
                next.push(path.join(unescaped(name)));
            }
        }
        found = next;
    }
    found.retain(|path| exists(path, list));
    if ends_with_slash {
        for path in &mut found {
            path.push("");
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Adds a directory and all directories and files below it.
fn below(path: &Path, list: &dyn Fn(&Path) -> Vec<OsString>, found: &mut Vec<PathBuf>) {
    found.push(path.to_owned());
    for name in list(path) {
        if !name.as_bytes().starts_with(b".") {
            below(&path.join(name), list, found);
        }
    }
}

fn exists(path: &Path, list: &dyn Fn(&Path) -> Vec<OsString>) -> bool {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => list(parent).iter().any(|found| found == name),
        _ => true,
    }
}

fn has_pattern(text: &[u8]) -> bool {
    let mut is_escaped = false;
    text.iter().any(|byte| {
        let is_special = !is_escaped && b"*?[".contains(byte);
        is_escaped = *byte == b'\\' && !is_escaped;
        is_special
    })
}

fn unescaped(text: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => plain.extend(bytes.next()),
            other => plain.push(*other),
        }
    }
    PathBuf::from(OsString::from_vec(plain))
}

/// Matches one name with a pattern.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return name.is_empty();
    };
    match first {
        b'*' => (0..=name.len()).any(|skipped| matches(rest, &name[skipped..])),
        b'?' => {
            let len = utf8_len(name);
            len > 0 && matches(rest, &name[len..])
        }
        b'[' => match class(rest) {
            Some((class, rest)) => {
                let len = utf8_len(name);
                len > 0 && class.has(&name[..len]) && matches(rest, &name[len..])
            }
            None => name.first() == Some(&b'[') && matches(rest, &name[1..]),
        },
        b'\\' if !rest.is_empty() => {
            name.first() == rest.first() && matches(&rest[1..], &name[1..])
        }
        byte => name.first() == Some(byte) && matches(rest, &name[1..]),
    }
}

/// Returns the number of bytes of the first character.
fn utf8_len(name: &[u8]) -> usize {
    match std::str::from_utf8(name) {
        Ok(text) => text.chars().next().map_or(0, char::len_utf8),
        Err(_) => usize::from(!name.is_empty()),
    }
}

/// Set of characters in square brackets.
struct Class {
    is_negated: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    fn has(&self, character: &[u8]) -> bool {
        let text = String::from_utf8_lossy(character);
        let found = text.chars().next().unwrap_or_default();
        let mut ranges = self.ranges.iter();
        ranges.any(|(from, to)| (*from..=*to).contains(&found)) != self.is_negated
    }
}

/// Reads a set behind its bracket. Returns `None` if the bracket is not closed.
fn class(pattern: &[u8]) -> Option<(Class, &[u8])> {
    let is_negated = matches!(pattern.first(), Some(b'!' | b'^'));
    let begin = &pattern[usize::from(is_negated)..];
    // A bracket that closes at once is one of the characters.
    let end = 1 + begin.get(1..)?.iter().position(|byte| *byte == b']')?;
    let text = String::from_utf8_lossy(&begin[..end]).into_owned();
    let characters: Vec<char> = text.chars().collect();
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some(from) = characters.get(at) {
        if let (Some('-'), Some(to)) = (characters.get(at + 1), characters.get(at + 2)) {
            ranges.push((*from, *to));
            at += 3;
        } else {
            ranges.push((*from, *from));
            at += 1;
        }
    }
    Some((Class { is_negated, ranges }, &begin[end + 1..]))
}

/// Expands `{a,b}`. Braces without a comma stay as they are.
fn braces(text: &str) -> Vec<String> {
    let mut words = vec![text.to_owned()];
    let mut done = Vec::new();
    while let Some(word) = words.pop() {
        match first_braces(&word) {
            Some((begin, end, parts)) if words.len() + done.len() < WORDS_MAX => {
                let made = parts
                    .iter()
                    .map(|part| format!("{}{part}{}", &word[..begin], &word[end..]));
                words.extend(made.rev());
            }
            _ => done.push(word),
        }
    }
    done
}

/// Returns the place of the first braces with a comma, and their parts.
fn first_braces(word: &str) -> Option<(usize, usize, Vec<&str>)> {
    let bytes = word.as_bytes();
    for begin in (0..bytes.len()).filter(|at| bytes[*at] == b'{') {
        if begin > 0 && matches!(bytes[begin - 1], b'\\' | b'$') {
            continue;
        }
        let (mut depth, mut from, mut parts) = (0, begin + 1, Vec::new());
        for at in begin..bytes.len() {
            match bytes[at] {
                b'{' => depth += 1,
                b',' if depth == 1 => {
                    parts.push(&word[from..at]);
                    from = at + 1;
                }
                b'}' if depth == 1 => {
                    parts.push(&word[from..at]);
                    if parts.len() > 1 {
                        return Some((begin, at + 1, parts));
                    }
                    break;
                }
                b'}' => depth -= 1,
                _ => {}
            }
        }
    }
    None
}

/// Returns the names in a directory of this machine, and nothing for anything else.
pub(super) fn list_of_host(cwd: &Path) -> impl Fn(&Path) -> Vec<OsString> {
    let cwd = cwd.to_owned();
    move |path| {
        let entries = std::fs::read_dir(cwd.join(path)).into_iter().flatten();
        entries
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(pattern: &str) -> Vec<String> {
        const FILES: [(&str, &[&str]); 4] = [
            ("", &["a.txt", "b.txt", ".hidden", "dir", "[x]", "ä.md"]),
            ("dir", &["one.c", "two.c", "sub"]),
            ("dir/sub", &["three.c"]),
            ("/", &["abs"]),
        ];
        let list = |path: &Path| {
            let found = FILES.iter().find(|(dir, _)| Path::new(dir) == path);
            let names = found.map_or(&[][..], |(_, names)| names);
            names.iter().map(OsString::from).collect()
        };
        let found = expand(pattern, &list).into_iter();
        found.map(|path| path.display().to_string()).collect()
    }

    /// Row D8: patterns of host files.
    #[test]
    fn patterns_are_those_of_a_shell() {
        for (pattern, expected) in [
            ("*.txt", &["a.txt", "b.txt"][..]),
            ("?.md", &["ä.md"]),
            ("[!b].txt", &["a.txt"]),
            ("[a-c].txt", &["a.txt", "b.txt"]),
            (".h*", &[".hidden"]),
            ("dir/*", &["dir/one.c", "dir/sub", "dir/two.c"]),
            ("d*/t*.c", &["dir/two.c"]),
            ("dir/**/*.c", &["dir/one.c", "dir/sub/three.c", "dir/two.c"]),
            ("{a,b}.txt", &["a.txt", "b.txt"]),
            ("{b,{a,c}}.*", &["b.txt", "a.txt", "c.*"]),
            ("/a*", &["/abs"]),
            ("dir/", &["dir/"]),
            ("none*", &["none*"]),
            ("\\[x\\]", &["[x]"]),
            ("a\\*", &["a*"]),
            ("{one}", &["{one}"]),
            ("[x", &["[x"]),
        ] {
            assert_eq!(expanded(pattern), expected, "{pattern}");
        }
    }
}
