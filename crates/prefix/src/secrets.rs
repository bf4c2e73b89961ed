//! Responsible for keeping credentials out of everything that is written or said.

use std::borrow::Cow;

/// Takes user, password and conda token out of every URL in `text`; all else stays as it is.
///
/// ```
/// let said = "from https://me:secret@host/t/tk-1234-abcd/channel and file:///here";
/// assert_eq!(condense_prefix::without_secrets(said), "from https://host/channel and file:///here");
/// ```
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        out.push_str(before);
        let end = url
            .find(|c: char| c.is_whitespace() || "\"'`<>)]}".contains(c))
            .unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        let (authority, path) = url.split_at(url.find(['/', '?', '#']).unwrap_or(url.len()));
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        out.push_str(host);
        // A token stands right behind the host, and there is no host in a file URL.
        match path.strip_prefix("/t/").filter(|_| !host.is_empty()) {
            Some(token) => out.push_str(token.find('/').map_or("", |slash| &token[slash..])),
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

/// The same for a URL by itself.
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
            ("mail me@host://", "mail me@host://"),
        ] {
            assert_eq!(without_secrets(text), expected);
        }
    }
}
