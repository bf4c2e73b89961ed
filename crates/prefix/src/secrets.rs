//! Responsible for removing credentials from all files and messages that condense writes.

use std::borrow::Cow;

/// Returns `text` without user name, password and conda token in every URL. The rest of the text
/// stays unchanged.
///
/// ```
/// let said = "from https://me:secret@host/t/tk-1234-abcd/channel and file:///here";
/// let expected = "from https://host/channel and file:///here";
/// assert_eq!(condense_prefix::without_secrets(said), expected);
/// ```
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        out.push_str(before);
        let mut in_braces = false;
        let end = url
            .find(|c: char| {
                let closes_variable = c == '}' && in_braces;
                in_braces = c == '{' || in_braces && c != '}';
                c.is_whitespace() || !closes_variable && "\"'`<>)]}".contains(c)
            })
            .unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        let (authority, path) = url.split_at(url.find(['/', '?', '#']).unwrap_or(url.len()));
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        out.push_str(host);
        // A `file:` URL has no host and no token.
        match find_token(path).filter(|_| !host.is_empty()) {
            Some((from, to)) => {
                out.push_str(&path[..from]);
                out.push_str(&path[to..]);
            }
            None => out.push_str(path),
        }
        rest = after;
    }
    if out.is_empty() {
        return Cow::Borrowed(text);
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Smallest length of a token that is recognised behind `/t/` anywhere in a path, for servers that
/// have their channels below a path. Shorter words may be directories, since directories named `t`
/// are not rare.
const LONG_TOKEN: usize = 16;

/// Returns the byte range of `/t/TOKEN` in the path of a URL: directly behind the host, or anywhere
/// in the path if the word has the form of a token.
fn find_token(path: &str) -> Option<(usize, usize)> {
    let ends = |from: usize| {
        let word = from + "/t/".len();
        let length = path[word..].find(['/', '?', '#']);
        word + length.unwrap_or(path.len() - word)
    };
    if path.starts_with("/t/") {
        return Some((0, ends(0)));
    }
    path.match_indices("/t/")
        .map(|(from, _)| (from, ends(from)))
        .find(|(from, to)| {
            let word = &path[from + "/t/".len()..*to];
            word.len() >= LONG_TOKEN
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

/// Returns a URL as text without credentials.
pub(crate) fn url_without_secrets(url: &url::Url) -> String {
    without_secrets(url.as_str()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::without_secrets;

    #[test]
    fn credentials_go_and_all_else_stays() {
        for (text, expected) in [
            ("nothing here", "nothing here"),
            ("https://host/channel", "https://host/channel"),
            ("https://user@host/x", "https://host/x"),
            (
                "- 'https://u:p%40@host:80/t/tk-1/c/linux-64?x=1'",
                "- 'https://host:80/c/linux-64?x=1'",
            ),
            (
                "git+https://token@host/repo.git@v1#egg=x",
                "git+https://host/repo.git@v1#egg=x",
            ),
            (
                "a http://u:p@h b https://v:q@i/t/2 c",
                "a http://h b https://i c",
            ),
            (
                "file:///home/me@here/t/dir/x",
                "file:///home/me@here/t/dir/x",
            ),
            (
                "https://host/api/repo/t/tk-01234567-89ab-cdef/c and https://host/api/t/dir/c",
                "https://host/api/repo/c and https://host/api/t/dir/c",
            ),
            (
                "{a: https://u:${P}@host/t/${TOKEN}/lab}",
                "{a: https://host/lab}",
            ),
            ("https://host/t/tk-1?x=1", "https://host?x=1"),
            ("mail me@host://", "mail me@host://"),
        ] {
            assert_eq!(without_secrets(text), expected);
        }
    }
}
