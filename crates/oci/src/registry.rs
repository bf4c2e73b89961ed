//! Responsible for requests to a registry: retries, refused requests, and tokens.
//!
//! The module uses the HTTP client directly. The crate `oci-client` 0.18 repeats no request, hides
//! the time that a registry asks to wait, turns a refused login into an anonymous request, and
//! sends an unneeded request before every blob.

mod retry;
mod tls;
mod token;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use condense_input::Pace;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RANGE, WWW_AUTHENTICATE,
};
use reqwest::{Client, Response, StatusCode};

pub(crate) use retry::Failure;
pub use retry::Retry;
pub use tls::TrustDirs;

use super::cancel::Cancel;
use super::challenge::Challenge;
use super::credentials::{Found, Keyring};
use super::digest::Digest;
use super::manifest::{ACCEPTED, DOCUMENT_LEN_MAX};
use super::mirror::Mirror;
use super::name::Name;
use crate::Error;

const CONNECT: Duration = Duration::from_secs(20);
/// Maximum number of bytes of an error answer. The reason for the error is near its beginning.
const REFUSAL_LEN_MAX: usize = 16 << 10;

/// Options of access to registries.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Places in which credentials are searched.
    pub keyring: Keyring,
    /// Whether to use HTTP instead of HTTPS. Only the user may choose that, because everything,
    /// including passwords, is sent in clear text.
    pub plain_http: bool,
    /// Directories with certificates of registries, besides the system's certificates.
    pub trust: TrustDirs,
    /// Options for retries after failures.
    pub retry: Retry,
    /// Mirrors, which are asked in this order before the registries that they mirror.
    pub mirrors: Vec<Mirror>,
}

impl Access {
    /// Returns the name of the image at the mirror and the access to the mirror, or `None` if the
    /// image's registry is not mirrored. The access has none of the credentials that the user gave
    /// for the registry, and has fewer tries than the registry's own.
    pub(crate) fn for_mirror(&self, mirror: &Mirror, name: &Name) -> Option<(Name, Access)> {
        let name = mirror.name_of(name)?;
        let access = Access {
            keyring: Keyring {
                given: None,
                ..self.keyring.clone()
            },
            plain_http: mirror.is_plain_http(),
            retry: Retry {
                tries: self.retry.tries.min(2),
                ..self.retry.clone()
            },
            mirrors: Vec::new(),
            ..self.clone()
        };
        Some((name, access))
    }
}

/// A repository of a registry.
#[derive(Debug)]
pub(crate) struct Registry<'a> {
    name: &'a Name,
    access: &'a Access,
    cancel: &'a Cancel,
    client: Client,
    authorization: Mutex<Authorization>,
    /// Lock that allows one login at a time.
    login: tokio::sync::Mutex<()>,
}

/// State of the search for credentials, which takes place once.
#[derive(Debug, Default, Clone)]
enum Search {
    #[default]
    NotYet,
    Done(Option<Found>),
}

#[derive(Debug, Default)]
struct Authorization {
    /// Value of the header `Authorization`. It is marked as sensitive, so that it is never printed.
    header: Option<HeaderValue>,
    /// Credentials, searched at the first challenge.
    found: Search,
}

impl<'a> Registry<'a> {
    pub(crate) fn new(
        name: &'a Name,
        access: &'a Access,
        cancel: &'a Cancel,
    ) -> Result<Registry<'a>, Error> {
        let secure = !access.plain_http;
        let redirect = reqwest::redirect::Policy::custom(move |attempt| {
            if secure && attempt.url().scheme() != "https" {
                attempt.error("it leads from HTTPS to HTTP")
            } else if attempt.previous().len() > 10 {
                attempt.error("it leads nowhere")
            } else {
                attempt.follow()
            }
        });
        let builder = Client::builder()
            .redirect(redirect)
            .read_timeout(access.retry.silence)
            .connect_timeout(CONNECT)
            .user_agent(concat!("condense/", env!("CARGO_PKG_VERSION")));
        let client = access
            .trust
            .apply(name.host(), builder)?
            .build()
            .map_err(|source| request_failed(name, "prepare to ask", source))?;
        Ok(Registry {
            name,
            access,
            cancel,
            client,
            authorization: Mutex::default(),
            login: tokio::sync::Mutex::default(),
        })
    }

    fn url(&self, rest: &str) -> String {
        let scheme = if self.access.plain_http {
            "http"
        } else {
            "https"
        };
        format!(
            "{scheme}://{}/v2/{}/{rest}",
            self.name.api_host(),
            self.name.repository()
        )
    }

    /// Fetches a manifest or index by tag or digest. Returns its bytes, the media type that the
    /// registry names, and its digest.
    pub(crate) async fn manifest(
        &self,
        reference: &str,
    ) -> Result<(Vec<u8>, String, Digest), Error> {
        let asked = Digest::parse(reference);
        self.access
            .retry
            .run(self.cancel, async || {
                let response = self
                    .send(&format!("manifests/{reference}"), &[(ACCEPT, ACCEPTED)])
                    .await?;
                let media_type = response
                    .headers()
                    .get(CONTENT_TYPE)
                    .and_then(|value| value.to_str().ok())
                    .and_then(|value| value.split(';').next())
                    .unwrap_or_default()
                    .trim()
                    .to_owned();
                let bytes = self.body(response, DOCUMENT_LEN_MAX).await?;
                let digest = match &asked {
                    Some(asked) if !asked.matches(&bytes) => {
                        return Err(self
                            .invalid_answer(format!("the manifest that it sends is not {asked}"))
                            .into());
                    }
                    Some(asked) => asked.clone(),
                    None => Digest::sha256(&bytes),
                };
                Ok((bytes, media_type, digest))
            })
            .await
    }

    /// Fetches a small blob as a whole, and checks its digest.
    pub(crate) async fn document(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        self.access
            .retry
            .run(self.cancel, async || {
                let response = self.send(&format!("blobs/{digest}"), &[]).await?;
                let bytes = self.body(response, DOCUMENT_LEN_MAX).await?;
                if digest.matches(&bytes) {
                    Ok(bytes)
                } else {
                    Err(self
                        .invalid_answer(format!("what it sends for {digest} is something else"))
                        .into())
                }
            })
            .await
    }

    /// Requests a blob from the byte `from` on. Returns the answer and the offset of its first
    /// byte, which is 0 if the registry ignores the range. The request is not repeated when it
    /// fails, because only the caller knows how many bytes have arrived.
    pub(crate) async fn blob(
        &self,
        digest: &Digest,
        from: u64,
    ) -> Result<(Response, u64), retry::Failure> {
        let range = format!("bytes={from}-");
        let headers: &[_] = if from > 0 { &[(RANGE, &*range)] } else { &[] };
        let response = self.send(&format!("blobs/{digest}"), headers).await?;
        let starts_at = if response.status() == StatusCode::PARTIAL_CONTENT {
            from
        } else {
            0
        };
        Ok((response, starts_at))
    }

    /// Sends one request, and logs in if the registry requests that.
    async fn send(
        &self,
        rest: &str,
        headers: &[(reqwest::header::HeaderName, &str)],
    ) -> Result<Response, retry::Failure> {
        let mut logged_in = false;
        loop {
            let mut request = self.client.get(self.url(rest));
            for (name, value) in headers {
                request = request.header(name, *value);
            }
            let sent = self.lock().header.clone();
            if let Some(header) = &sent {
                request = request.header(AUTHORIZATION, header.clone());
            }
            let response = self
                .cancel
                .or(async { Ok(request.send().await) })
                .await?
                .map_err(|error| self.unreachable(error))?;
            match response.status() {
                status if status.is_success() => return Ok(response),
                StatusCode::UNAUTHORIZED if !logged_in => {
                    let _turn = self.login.lock().await;
                    // Another request may have logged in meanwhile.
                    if self.lock().header == sent {
                        logged_in = true;
                        self.log_in(&response).await?;
                    }
                }
                status => return Err(self.refused(status, response).await),
            }
        }
    }

    /// Logs in as the challenge of an answer requests.
    async fn log_in(&self, response: &Response) -> Result<(), retry::Failure> {
        let challenges: Vec<Challenge> = response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| Challenge::parse(value.to_str().ok()?))
            .collect();
        let bearer = challenges
            .iter()
            .find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        let Some(challenge) = bearer.or(challenges.first()) else {
            return Err(self.denied("it does not say how to log in").into());
        };
        let found = self.credentials().await?;
        let header = match challenge {
            Challenge::Basic => self.basic(found.as_ref())?,
            Challenge::Bearer {
                realm,
                service,
                scope,
            } => {
                token::fetch(
                    self,
                    realm,
                    service.as_deref(),
                    scope.as_deref(),
                    found.as_ref(),
                )
                .await?
            }
        };
        self.lock().header = Some(header);
        Ok(())
    }

    async fn credentials(&self) -> Result<Option<Found>, Error> {
        if let Search::Done(found) = &self.lock().found {
            return Ok(found.clone());
        }
        let (keyring, name, cancel) = (
            self.access.keyring.clone(),
            self.name.clone(),
            self.cancel.clone(),
        );
        // A helper is a program that may block for a long time.
        let found = tokio::task::spawn_blocking(move || keyring.find(&name, &cancel))
            .await
            .expect("looking for credentials does not panic")?;
        self.lock().found = Search::Done(found.clone());
        Ok(found)
    }

    fn basic(&self, found: Option<&Found>) -> Result<HeaderValue, Error> {
        use super::credentials::Credentials::Password;
        match found.map(|found| &found.credentials) {
            Some(Password { user, password }) => Ok(token::basic(user, password)),
            Some(_) => {
                Err(self.denied("it wants a user and a password, and there is only a token"))
            }
            None => Err(self.denied("it wants a login, and there is none for it")),
        }
    }

    /// Returns the error for an answer without success.
    async fn refused(&self, status: StatusCode, response: Response) -> retry::Failure {
        let wait = retry::asked_to_wait(&response);
        let mut words = self.error_messages(response).await;
        if words.is_empty() {
            status
                .canonical_reason()
                .unwrap_or_default()
                .clone_into(&mut words);
        }
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let origin = match &self.lock().found {
                    Search::Done(Some(found)) => {
                        format!("the login from {} is refused: ", found.origin)
                    }
                    _ => String::new(),
                };
                self.denied(&format!("{origin}{words}")).into()
            }
            StatusCode::NOT_FOUND => Error::NoSuchImage {
                name: self.name.to_string(),
                reason: words,
            }
            .into(),
            status => {
                let error = Error::Registry {
                    host: self.name.api_host().to_owned(),
                    problem: format!("it answers {}: {words}", status.as_u16()),
                };
                let passes = status.is_server_error()
                    || status == StatusCode::TOO_MANY_REQUESTS
                    || status == StatusCode::REQUEST_TIMEOUT;
                if passes {
                    retry::Failure::Temporary { error, wait }
                } else {
                    error.into()
                }
            }
        }
    }

    /// Returns the messages of an error answer in the format of registries, on one line.
    async fn error_messages(&self, response: Response) -> String {
        let Ok(bytes) = self.body(response, REFUSAL_LEN_MAX as u64).await else {
            return String::new();
        };
        let Ok(body) = serde_json::from_slice::<serde_json::Value>(&bytes) else {
            return String::new();
        };
        let messages = body["errors"].as_array().map(|errors| {
            let messages = errors.iter().filter_map(|error| error["message"].as_str());
            messages.collect::<Vec<_>>().join("; ")
        });
        messages
            .unwrap_or_default()
            .replace(|c: char| c.is_control(), " ")
    }

    async fn body(&self, mut response: Response, len_max: u64) -> Result<Vec<u8>, retry::Failure> {
        let claimed = response
            .headers()
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let too_long = || self.invalid_answer(format!("its answer has more than {len_max} bytes"));
        if claimed.is_some_and(|len| len > len_max) {
            return Err(too_long().into());
        }
        let mut bytes = Vec::new();
        let mut pace = self.pace();
        while let Some(chunk) = self.chunk(&mut response, &mut pace).await? {
            if (bytes.len() + chunk.len()) as u64 > len_max {
                return Err(too_long().into());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Returns a new measurement of how fast an answer arrives.
    pub(crate) fn pace(&self) -> Pace {
        Pace::new(self.access.retry.silence)
    }

    /// Returns the next bytes of an answer. If they arrive too slowly, the failure is one that may
    /// be retried.
    pub(crate) async fn chunk(
        &self,
        response: &mut Response,
        pace: &mut Pace,
    ) -> Result<Option<Bytes>, retry::Failure> {
        let began = Instant::now();
        let chunk = self
            .cancel
            .or(async { Ok(response.chunk().await) })
            .await?
            .map_err(|error| self.unreachable(error))?;
        let len = chunk.as_ref().map_or(0, Bytes::len);
        match pace.count(began.elapsed(), len) {
            Err(slow) if chunk.is_some() => Err(retry::Failure::Temporary {
                error: self.invalid_answer(slow.to_string()),
                wait: None,
            }),
            _ => Ok(chunk),
        }
    }

    /// Returns the failure for a request that got no answer or a partial one. A refused certificate
    /// is not retried.
    pub(crate) fn unreachable(&self, error: reqwest::Error) -> retry::Failure {
        let lasting = error.is_builder() || error.is_redirect() || tls::is_refusal(&error);
        let error = request_failed(self.name, "reach", error);
        if lasting {
            error.into()
        } else {
            retry::Failure::Temporary { error, wait: None }
        }
    }

    pub(crate) fn invalid_answer(&self, problem: String) -> Error {
        Error::Registry {
            host: self.name.api_host().to_owned(),
            problem,
        }
    }

    fn denied(&self, reason: &str) -> Error {
        Error::Denied {
            name: self.name.to_string(),
            host: self.name.host().to_owned(),
            reason: reason.to_owned(),
        }
    }

    pub(crate) fn cancel(&self) -> &Cancel {
        self.cancel
    }

    pub(crate) fn retry(&self) -> &Retry {
        &self.access.retry
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Authorization> {
        self.authorization
            .lock()
            .expect("nobody panics while holding it")
    }
}

fn request_failed(name: &Name, action: &'static str, source: reqwest::Error) -> Error {
    Error::Unreachable {
        action,
        host: name.api_host().to_owned(),
        // The URL may be signed, and a signed URL is as secret as a password.
        source: Box::new(source.without_url()),
    }
}
