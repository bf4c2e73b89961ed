//! Responsible for credentials of requests. Credentials in URLs of channels are removed
//! from the URLs and stored; requests get them back. All other credentials come from
//! rattler's file and from netrc.

use std::sync::{Arc, PoisonError, RwLock};

use base64::{Engine, prelude::BASE64_STANDARD as STANDARD};
use condense_input::TEXT_MOST;
use http::{Extensions, HeaderValue, header::AUTHORIZATION};
use rattler_networking::{
    AuthenticationMiddleware, AuthenticationStorage,
    authentication_storage::backends::{file::FileStorage, netrc::NetRcStorage},
};
use reqwest::{Request, Response};
use reqwest_middleware::{Middleware, Next};
use url::Url;

use super::{notices::Notices, settings::NetworkSettings, unusable};
use crate::{error::Error, secrets::url_without_secrets};

/// Credentials from URLs, by the URL without them.
#[derive(Default)]
pub(super) struct Credentials(RwLock<Vec<Key>>);

struct Key {
    /// URL without credentials. The key is for this URL and the URLs below it.
    below: Url,
    /// The same URL with its credentials.
    with: Url,
}

impl Credentials {
    /// Returns the URL without its credentials, and stores them for this URL and all URLs below it.
    pub(super) fn take(&self, url: &Url) -> Url {
        let Ok(clean) = url_without_secrets(url).parse::<Url>() else {
            return url.clone();
        };
        if clean == *url {
            return clean;
        }
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if !keys
            .iter()
            .any(|key| key.with == *url && key.below == clean)
        {
            keys.push(Key {
                below: clean.clone(),
                with: url.clone(),
            });
            keys.sort_by_key(|key| std::cmp::Reverse(key.below.as_str().len()));
        }
        clean
    }

    /// Returns the URL with its token and the header for its user and password, if credentials for
    /// the URL are stored.
    fn apply(&self, url: &Url) -> Option<(Url, Option<HeaderValue>)> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (key, rest) = keys.iter().find_map(|key| {
            let rest = url.as_str().strip_prefix(key.below.as_str())?;
            let whole = rest.is_empty() || rest.starts_with('/') || key.below.path().ends_with('/');
            whole.then_some((key, rest))
        })?;
        let mut url = Url::parse(&format!("{}{rest}", key.with)).ok()?;
        let header = basic(&url);
        // The setters cannot fail for `http` and `https` URLs.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Some((url, header))
    }
}

/// Returns the `Authorization` header for the user and password in a URL.
fn basic(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
    let mut words = decoded(url.username());
    words.push(b':');
    words.extend(decoded(url.password().unwrap_or_default()));
    let mut header = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(words))).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// Middleware that adds credentials to each request: those from its channel's URL,
/// or else those of its host.
pub(super) struct SignedRequests {
    keys: Arc<Credentials>,
    hosts: AuthenticationMiddleware,
}

impl SignedRequests {
    /// Reads the files of credentials that the settings name.
    pub(super) fn load(
        settings: &NetworkSettings,
        keys: Arc<Credentials>,
        notices: &Notices,
    ) -> Result<Self, Error> {
        let mut storage = AuthenticationStorage::empty();
        for path in &settings.auth_files {
            // rattler would treat a missing file as an empty one.
            condense_input::check(path, TEXT_MOST).map_err(Error::io("read", path))?;
            let file = FileStorage::from_path(path.clone()).map_err(|error| {
                unusable(path, format!("is not a file of credentials: {error}"))
            })?;
            storage.add_backend(Arc::new(file));
        }
        if let Some(path) = &settings.netrc {
            condense_input::check(path, TEXT_MOST).map_err(Error::io("read", path))?;
            match NetRcStorage::from_path(path) {
                Ok(netrc) => storage.add_backend(Arc::new(netrc)),
                // An unreadable netrc is no error: it may have a syntax that other programs
                // support, and most channels need no password.
                Err(_) => notices.add(format!(
                    "`{}` cannot be understood, its passwords are not used",
                    path.display()
                )),
            }
        }
        Ok(Self {
            keys,
            hosts: AuthenticationMiddleware::from_auth_storage(storage),
        })
    }
}

#[async_trait::async_trait]
impl Middleware for SignedRequests {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let Some((url, header)) = self.keys.apply(request.url()) else {
            return self.hosts.handle(request, extensions, next).await;
        };
        *request.url_mut() = url;
        if let Some(header) = header {
            request.headers_mut().insert(AUTHORIZATION, header);
        }
        next.run(request, extensions).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Credentials;

    #[test]
    fn credentials_are_used_for_urls_below_theirs_only() {
        let keys = Credentials::default();
        let clean = |url: &str| keys.take(&url.parse().unwrap()).to_string();
        assert_eq!(clean("https://u:p%40@h.org/c/"), "https://h.org/c/");
        assert_eq!(clean("https://h.org/t/tk-1/d/"), "https://h.org/d/");
        assert_eq!(clean("https://h.org/t/tk-2/d/e/"), "https://h.org/d/e/");
        assert_eq!(clean("https://plain.org/c/"), "https://plain.org/c/");
        let opened = |url: &str| {
            keys.apply(&url.parse().unwrap()).map(|(url, header)| {
                let header = header.map(|value| value.to_str().unwrap().to_owned());
                (url.to_string(), header)
            })
        };
        for (url, expected) in [
            (
                "https://h.org/c/linux-64/x?y=1",
                Some(("https://h.org/c/linux-64/x?y=1", Some("Basic dTpwQA=="))),
            ),
            (
                "https://h.org/d/x",
                Some(("https://h.org/t/tk-1/d/x", None)),
            ),
            (
                "https://h.org/d/e/x",
                Some(("https://h.org/t/tk-2/d/e/x", None)),
            ),
            ("https://h.org/cd/x", None),
            ("https://h.org:444/c/x", None),
            ("http://h.org/c/x", None),
            ("https://plain.org/c/x", None),
        ] {
            let expected =
                expected.map(|(url, header)| (url.to_owned(), header.map(str::to_owned)));
            assert_eq!(opened(url), expected, "{url}");
        }
    }
}
