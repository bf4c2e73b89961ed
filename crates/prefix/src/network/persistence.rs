//! Responsible for trying requests again: with other mirrors, and with the
//! same mirrors after a while.

use std::{sync::Arc, time::Duration};

use http::{Extensions, StatusCode, header::RETRY_AFTER};
use reqwest::{Request, Response, ResponseBuilderExt};
use reqwest_middleware::{Error, Middleware, Next};

use super::{
    bounds::{Excess, is_caused_by},
    local,
    mirrors::{Candidate, Mirror, MirrorTable},
    notices::Notices,
    settings::NetworkSettings,
};
use crate::secrets::url_without_secrets;

/// Longest delay before one retry. A server that requests a longer delay gets no further request.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// File name ending of sharded indices. They are small files, and rattler does not repeat the
/// request when a response breaks off.
const WHOLE: &str = ".msgpack.zst";

/// Middleware that tries mirrors in turn and repeats requests after failures that may be temporary.
pub(super) struct Persistence {
    mirrors: MirrorTable,
    retries: u32,
    backoff: Duration,
    notices: Arc<Notices>,
}

/// Mirror that sent a response. Code that finds the response damaged later reports that with
/// [`ServedBy::blame`].
#[derive(Clone)]
pub(crate) struct ServedBy {
    mirror: Option<Arc<Mirror>>,
    others: usize,
}

impl ServedBy {
    /// Counts a failure of the mirror, so that other mirrors are tried first from now on. Returns
    /// true if there are other mirrors.
    pub(crate) fn blame(response: &Extensions) -> bool {
        let Some(served) = response.get::<Self>() else {
            return false;
        };
        if let Some(mirror) = &served.mirror {
            mirror.blame();
        }
        served.others > 0
    }
}

/// Meaning of a response for further attempts.
enum Verdict {
    /// The response can be used.
    Good,
    /// The server lacks the file or refuses access. Repeating the request would not help.
    Refused,
    /// The failure may be temporary. The values are its reason, and the delay
    /// that the server requests.
    Broken(String, Option<Duration>),
}

impl Persistence {
    pub(super) fn new(
        settings: &NetworkSettings,
        mirrors: MirrorTable,
        notices: Arc<Notices>,
    ) -> Self {
        Self {
            mirrors,
            retries: settings.retries,
            backoff: settings.backoff,
            notices,
        }
    }
}

#[async_trait::async_trait]
impl Middleware for Persistence {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let mut attempt = 0;
        loop {
            let mut refused = None;
            let mut broken = None;
            let candidates = self.mirrors.candidates(request.url());
            let others = candidates.len() - 1;
            for Candidate { url, mirror } in candidates {
                let Some(mut copy) = request.try_clone() else {
                    // condense sends no requests with a body that can be sent only once.
                    return next.run(request, extensions).await;
                };
                let place = url_without_secrets(&url);
                let mut answer = if url.scheme() == "file" {
                    local::answer(&copy, &url).await
                } else {
                    *copy.url_mut() = url;
                    next.clone().run(copy, extensions).await
                };
                if request.url().path().ends_with(WHOLE) {
                    answer = whole(answer).await;
                }
                match verdict(&answer) {
                    Verdict::Good => {
                        return answer.map(|mut response| {
                            response
                                .extensions_mut()
                                .insert(ServedBy { mirror, others });
                            response
                        });
                    }
                    Verdict::Refused => refused = refused.or(Some(answer)),
                    Verdict::Broken(why, wait) => {
                        if let Some(mirror) = mirror {
                            mirror.blame();
                            if others > 0 {
                                self.notices
                                    .add(format!("mirror `{}` failed: {why}", host(&place)));
                            }
                        }
                        broken = Some((answer, place, why, wait));
                    }
                }
            }
            let Some((answer, place, why, wait)) = broken else {
                return refused.expect("there is at least one candidate, and none was good");
            };
            // Indices have several forms, and most channels lack some of them, so a refusal is the
            // response. An archive must exist on one of the servers, so its request is repeated.
            if let Some(refused) = refused
                && (attempt == self.retries || !is_archive(request.url()))
            {
                return refused;
            }
            if attempt == self.retries {
                return answer;
            }
            if let Some(asked) = wait.filter(|asked| *asked > LONGEST_WAIT) {
                // Waiting for an hour, for example, is not useful for a build.
                self.notices.add(format!(
                    "`{}` failed: {why}; it wants to be left alone for {} s",
                    host(&place),
                    asked.as_secs()
                ));
                return answer;
            }
            let wait = pause(attempt, self.backoff, wait);
            attempt += 1;
            self.notices.add(format!(
                "`{}` failed: {why}; asked again in {:.1} s ({attempt} of {})",
                host(&place),
                wait.as_secs_f32(),
                self.retries
            ));
            tokio::time::sleep(wait).await;
        }
    }
}

fn is_archive(url: &url::Url) -> bool {
    [".conda", ".tar.bz2"]
        .iter()
        .any(|ending| url.path().ends_with(ending))
}

/// Returns the scheme, host and port of a URL: `https://host:1` for `https://host:1/path`.
fn host(place: &str) -> &str {
    let start = place.find("://").map_or(0, |at| at + 3);
    let end = place[start..]
        .find('/')
        .map_or(place.len(), |at| start + at);
    &place[..end]
}

/// Returns the delay before the next attempt: the one that the server requests, or else one that
/// doubles with each attempt. It is at most [`LONGEST_WAIT`].
fn pause(attempt: u32, backoff: Duration, asked_for: Option<Duration>) -> Duration {
    asked_for
        .unwrap_or_else(|| backoff.saturating_mul(1 << attempt.min(16)))
        .min(LONGEST_WAIT)
}

fn verdict(answer: &reqwest_middleware::Result<Response>) -> Verdict {
    let response = match answer {
        Ok(response) => response,
        Err(Error::Middleware(_)) => return Verdict::Refused,
        Err(Error::Reqwest(error)) if lasting(error) => return Verdict::Refused,
        Err(Error::Reqwest(error)) => return Verdict::Broken(innermost(error), None),
    };
    let status = response.status();
    let wait = response.headers().get(RETRY_AFTER).and_then(|value| {
        let now = jiff::Timestamp::now();
        retry_after(value.to_str().ok()?, now)
    });
    let may_pass = match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => false,
        // Some servers limit the rate of requests with status 403 and a `Retry-After` header.
        _ => status.is_server_error() || status.is_client_error() && wait.is_some(),
    };
    if may_pass {
        Verdict::Broken(format!("it answers {status}"), wait)
    } else if status.is_client_error() || status.is_server_error() {
        Verdict::Refused
    } else {
        Verdict::Good
    }
}

/// Returns true if repeating the request cannot help: the request itself is wrong, the response is
/// too long, or the server's certificate is not valid.
fn lasting(error: &reqwest::Error) -> bool {
    error.is_builder()
        || error.is_redirect()
        || is_caused_by::<Excess>(error)
        || innermost(error).contains("certificate")
}

/// Returns the message of the innermost cause. reqwest's own message contains
/// the URL and little else.
fn innermost(error: &reqwest::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    if error.is_timeout() {
        return "it says nothing".to_owned();
    }
    reason.to_string()
}

/// Parses the value of a `Retry-After` header: seconds, or a date.
fn retry_after(text: &str, now: jiff::Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text.trim())
        .ok()?;
    let seconds = date.as_second().saturating_sub(now.as_second());
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Reads the whole body of a response, so that a body that breaks off is an error of the request.
async fn whole(
    answer: reqwest_middleware::Result<Response>,
) -> reqwest_middleware::Result<Response> {
    let response = answer?;
    let mut builder = http::Response::builder()
        .status(response.status())
        .version(response.version())
        .url(response.url().clone());
    if let Some(headers) = builder.headers_mut() {
        headers.clone_from(response.headers());
    }
    let body = response.bytes().await?;
    let response = builder
        .body(body)
        .expect("status and headers were those of a response");
    Ok(response.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{host, pause, retry_after};
    use std::time::Duration;

    #[test]
    fn the_wait_doubles_unless_the_server_says_otherwise() {
        let half = Duration::from_millis(500);
        for (attempt, asked, expected) in [
            (0, None, 500),
            (1, None, 1000),
            (4, None, 8000),
            (30, None, 120_000),
            (0, Some(7), 7000),
            (5, Some(0), 0),
            (0, Some(1_000_000), 120_000),
        ] {
            let asked = asked.map(Duration::from_secs);
            assert_eq!(
                pause(attempt, half, asked),
                Duration::from_millis(expected),
                "{attempt} {asked:?}"
            );
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Sat, 21 Nov 2026 10:00:30 GMT", Some(30)),
            ("Sat, 21 Nov 2026 09:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(retry_after(text, now), expected, "{text}");
        }
    }

    #[test]
    fn a_host_is_named_with_its_port() {
        for (place, expected) in [
            ("https://h.org:1/a/b", "https://h.org:1"),
            ("http://h.org", "http://h.org"),
        ] {
            assert_eq!(host(place), expected);
        }
    }
}
