//! Responsible for parsing the header `WWW-Authenticate`, with which a registry requests a login in
//! an answer with status 401.

/// Kind of login that a registry requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A name and a password with every request.
    Basic,
    /// A token from a token server.
    Bearer {
        /// URL of the token server.
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

impl Challenge {
    /// Parses one header. Of several challenges in it, `Bearer` is preferred, because then the
    /// password is not sent with every request.
    pub(crate) fn parse(header: &str) -> Option<Challenge> {
        let mut basic = None;
        let mut rest = header.trim_start();
        while !rest.is_empty() {
            let end = rest.find([' ', ',']).unwrap_or(rest.len());
            let scheme = &rest[..end];
            let (parameters, after) = parameters(rest[end..].trim_start());
            if scheme.eq_ignore_ascii_case("bearer") {
                let of = |name: &str| {
                    parameters
                        .iter()
                        .find(|(key, _)| key.eq_ignore_ascii_case(name))
                        .map(|(_, value)| value.clone())
                };
                return Some(Challenge::Bearer {
                    realm: of("realm")?,
                    service: of("service"),
                    scope: of("scope"),
                });
            }
            if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
            if after.len() == rest.len() {
                break;
            }
            rest = after;
        }
        basic
    }
}

/// Parses `key="value", key=value` up to the next challenge, and returns the rest of the text.
fn parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',']);
    loop {
        let is_key = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let key_end = rest.find(|c| !is_key(c)).unwrap_or(rest.len());
        // A word without `=` is the scheme of the next challenge.
        let Some(value) = rest[key_end..].strip_prefix('=') else {
            return (found, rest);
        };
        if key_end == 0 {
            return (found, "");
        }
        let (word, after) = if let Some(quoted) = value.strip_prefix('"') {
            quoted_word(quoted)
        } else {
            let end = value.find([',', ' ']).unwrap_or(value.len());
            (value[..end].to_owned(), &value[end..])
        };
        found.push((rest[..key_end].to_owned(), word));
        rest = after.trim_start_matches([' ', ',']);
    }
}

fn quoted_word(text: &str) -> (String, &str) {
    let mut word = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (word, &text[at + 1..]),
            '\\' => word.extend(chars.next().map(|(_, c)| c)),
            c => word.push(c),
        }
    }
    (word, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn challenges_of_every_registry_are_understood() {
        for (header, expected) in [
            (r#"Basic realm="test-registry""#, Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                Some(bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:a/b:pull,push"),
                )),
            ),
            (
                "bearer  Realm=https://x/t , service = x",
                Some(bearer("https://x/t", None, None)),
            ),
            (
                r#"Basic realm="a, b", Bearer realm="https://x/\"t""#,
                Some(bearer("https://x/\"t", None, None)),
            ),
            (r#"Bearer service="x""#, None),
            ("Negotiate", None),
            ("Negotiate abc==, Basic realm=x", Some(Challenge::Basic)),
            ("", None),
            (",,,", None),
            ("=\"", None),
            (
                r#"Bearer realm="unfinished"#,
                Some(bearer("unfinished", None, None)),
            ),
        ] {
            assert_eq!(Challenge::parse(header), expected, "{header}");
        }
    }
}
