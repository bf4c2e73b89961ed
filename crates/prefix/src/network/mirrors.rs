//! Responsible for mirrors of channels.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use url::Url;

use super::credentials::Credentials;
use crate::secrets::url_without_secrets;

/// Mirrors for URLs of channels, the preferred one first. Requests go to the mirrors instead of the
/// channel. The channel's own URL is used only if it is one of the mirrors.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Mirrors(Vec<(Url, Vec<Url>)>);

// Hides credentials, since URLs of mirrors may contain tokens.
impl fmt::Debug for Mirrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |urls: &[Url]| urls.iter().map(url_without_secrets).collect::<Vec<_>>();
        f.debug_map()
            .entries(
                self.0
                    .iter()
                    .map(|(of, places)| (url_without_secrets(of), hidden(places))),
            )
            .finish()
    }
}

impl Mirrors {
    /// Sends all requests for URLs below `prefix` to the mirrors `places` instead. A mirror is an
    /// `http://` or `https://` URL, or a directory as an absolute path or a `file://` URL.
    ///
    /// # Errors
    /// Returns a sentence about the first URL that has another scheme, or about
    /// an empty list of mirrors.
    ///
    /// # Examples
    /// ```
    /// let mut mirrors = condense_prefix::Mirrors::default();
    /// let (forge, bioconda) =
    ///     ("https://conda.anaconda.org/conda-forge", "https://conda.anaconda.org/bioconda");
    /// mirrors.insert(forge, &["https://mirror.example.org/conda-forge"]).unwrap();
    /// mirrors.insert(bioconda, &["/appl/mirrors/bioconda"]).unwrap();
    /// assert!(mirrors.insert("conda-forge", &["https://mirror.example.org"]).is_err());
    /// ```
    pub fn insert(&mut self, prefix: &str, places: &[impl AsRef<str>]) -> Result<(), String> {
        let prefix = directory(prefix, &["http", "https"])?;
        if places.is_empty() {
            return Err(format!("no mirror is given for `{prefix}`"));
        }
        let places = places
            .iter()
            .map(|place| directory(place.as_ref(), &["http", "https", "file"]))
            .collect::<Result<Vec<Url>, String>>()?;
        self.0.retain(|(known, _)| *known != prefix);
        self.0.push((prefix, places));
        Ok(())
    }

    /// Returns true if no channel has a mirror.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lists the channels with their mirrors in words, without credentials.
    pub fn describe(&self) -> Vec<String> {
        let line = |(prefix, places): &(Url, Vec<Url>)| {
            let places: Vec<String> = places.iter().map(url_without_secrets).collect();
            format!("{} from {}", url_without_secrets(prefix), places.join(", "))
        };
        self.0.iter().map(line).collect()
    }
}

/// Parses a URL or an absolute path and adds a slash to its end, so that it is a
/// prefix of the URLs below it.
fn directory(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let refused = || {
        let text = crate::secrets::without_secrets(text);
        format!("`{text}` is not a URL of {}", schemes.join(" or "))
    };
    let url = if text.starts_with('/') {
        Url::from_directory_path(text).map_err(|()| refused())
    } else {
        Url::parse(text).map_err(|_| refused())
    };
    let mut url = url?;
    if !schemes.contains(&url.scheme()) || url.scheme() == "file" && url.to_file_path().is_err() {
        return Err(refused());
    }
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// A mirror, and the number of its failures in this run.
#[derive(Debug)]
pub(super) struct Mirror {
    url: Url,
    failures: AtomicU32,
}

impl Mirror {
    /// Counts a failure, so that mirrors with fewer failures are tried first from now on.
    pub(super) fn blame(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

/// A URL to which a request can be sent.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) url: Url,
    /// Mirror that has the URL; `None` if the URL is the original one.
    pub(super) mirror: Option<Arc<Mirror>>,
}

/// The mirrors of one run; the longest URL prefix comes first.
#[derive(Debug)]
pub(super) struct MirrorTable(Vec<(Url, Vec<Arc<Mirror>>)>);

impl MirrorTable {
    /// Returns the table of `mirrors`. Credentials in their URLs are moved to `keys`.
    pub(super) fn new(mirrors: &Mirrors, keys: &Credentials) -> Self {
        let fresh = |url: &Url| {
            Arc::new(Mirror {
                url: keys.take(url),
                failures: AtomicU32::new(0),
            })
        };
        let mut table: Vec<(Url, Vec<Arc<Mirror>>)> = mirrors
            .0
            .iter()
            .map(|(prefix, places)| (keys.take(prefix), places.iter().map(fresh).collect()))
            .collect();
        table.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.as_str().len()));
        Self(table)
    }

    /// Returns the URLs to try for `url`: mirrors with fewer failures come first, then the user's
    /// order counts.
    pub(super) fn candidates(&self, url: &Url) -> Vec<Candidate> {
        let found = self.0.iter().find_map(|(prefix, mirrors)| {
            Some((url.as_str().strip_prefix(prefix.as_str())?, mirrors))
        });
        let Some((rest, mirrors)) = found else {
            return vec![Candidate {
                url: url.clone(),
                mirror: None,
            }];
        };
        let mut mirrors = mirrors.clone();
        mirrors.sort_by_key(|mirror| mirror.failures.load(Ordering::Relaxed));
        mirrors
            .into_iter()
            .filter_map(|mirror| {
                // `Url::join` would take a file name with a colon for a URL with a scheme.
                let url = Url::parse(&format!("{}{rest}", mirror.url)).ok()?;
                Some(Candidate {
                    url,
                    mirror: Some(mirror),
                })
            })
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{super::credentials::Credentials, MirrorTable, Mirrors};

    fn candidates(table: &MirrorTable, url: &str) -> Vec<String> {
        table
            .candidates(&url.parse().unwrap())
            .into_iter()
            .map(|candidate| candidate.url.to_string())
            .collect()
    }

    #[test]
    fn the_longest_prefix_wins_and_failures_count() {
        let mut mirrors = Mirrors::default();
        mirrors
            .insert("https://c.org", &["https://a.net/all"])
            .unwrap();
        mirrors
            .insert(
                "https://c.org/forge/",
                &["https://u:p@m.net/forge", "https://n.net/t/tk-1/f/"],
            )
            .unwrap();
        assert_eq!(
            format!("{mirrors:?}").matches("tk-1").count()
                + format!("{mirrors:?}").matches("u:p").count(),
            0
        );
        let table = MirrorTable::new(&mirrors, &Credentials::default());
        for (url, expected) in [
            ("https://c.org/main/x", vec!["https://a.net/all/main/x"]),
            (
                "https://c.org/forge/linux-64/x%2B.conda?y=1",
                vec![
                    "https://m.net/forge/linux-64/x%2B.conda?y=1",
                    "https://n.net/f/linux-64/x%2B.conda?y=1",
                ],
            ),
            (
                "https://c.org/forgery/x",
                vec!["https://a.net/all/forgery/x"],
            ),
            ("https://other.org/x", vec!["https://other.org/x"]),
        ] {
            assert_eq!(candidates(&table, url), expected);
        }
        let url = "https://c.org/forge/x";
        table.candidates(&url.parse().unwrap())[0]
            .mirror
            .as_ref()
            .unwrap()
            .blame();
        assert_eq!(
            candidates(&table, url),
            ["https://n.net/f/x", "https://m.net/forge/x"]
        );
    }

    #[test]
    fn errors_about_mirrors_do_not_show_passwords() {
        for (prefix, place) in [
            ("conda-forge", "https://m.net"),
            ("file:///c", "https://m.net"),
            ("/c", "https://m.net"),
            ("https://c.org", "file://host/m"),
            ("https://c.org", "m"),
            ("https://c.org", "ftp://me:secret@m.net"),
            ("https://c.org", "m.net"),
        ] {
            let error = Mirrors::default().insert(prefix, &[place]).unwrap_err();
            assert!(
                error.contains("http") && !error.contains("secret"),
                "{error}"
            );
        }
        assert!(
            Mirrors::default()
                .insert("https://c.org", &[] as &[&str])
                .is_err()
        );
    }
}
