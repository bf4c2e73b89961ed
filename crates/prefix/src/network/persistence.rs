//! Responsible for not giving up: other mirrors, and the same again after a while.

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

/// Longest time for which a server can delay a build at once. A server that asks for a longer delay
/// is given up.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// Indices in parts: small files that their reader does not ask for again when they break off.
const WHOLE: &str = ".msgpack.zst";

/// Repeats what failed in a way that may pass, and asks mirrors in turn.
pub(super) struct Persistence {
    mirrors: MirrorTable,
    retries: u32,
    backoff: Duration,
    notices: Arc<Notices>,
}

/// Who sent a response, for those who find out later that it was a bad one.
#[derive(Clone)]
pub(crate) struct ServedBy {
    mirror: Option<Arc<Mirror>>,
    others: usize,
}

impl ServedBy {
    /// Has others asked first from now on; true when there are any.
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

/// What an answer means.
enum Verdict {
    /// It is the answer.
    Good,
    /// This place does not have it, or not for us; it will not change its mind.
    Refused,
    /// May pass; with the wait that the server asks for.
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
                    // Nothing of ours has a body that can be sent only once.
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
            // Indices come in several forms, and most channels lack some; but an archive must be
            // somewhere.
            if let Some(refused) = refused
                && (attempt == self.retries || !is_archive(request.url()))
            {
                return refused;
            }
            if attempt == self.retries {
                return answer;
            }
            if let Some(asked) = wait.filter(|asked| *asked > LONGEST_WAIT) {
                // A server that asks for a delay of an hour will not answer this build.
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

/// `https://host:1/path` without its path.
fn host(place: &str) -> &str {
    let start = place.find("://").map_or(0, |at| at + 3);
    let end = place[start..]
        .find('/')
        .map_or(place.len(), |at| start + at);
    &place[..end]
}

/// A server that says when to come back is believed, within reason; else the wait doubles with each
/// attempt.
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
        // Some limit their callers with 403 and say when to come back.
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

/// Asking again cannot help: the request itself is wrong, or the server is not who it should be.
fn lasting(error: &reqwest::Error) -> bool {
    error.is_builder()
        || error.is_redirect()
        || is_caused_by::<Excess>(error)
        || innermost(error).contains("certificate")
}

/// reqwest's own words repeat the URL and say little; the reason stands at the bottom.
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

/// Seconds, or a date.
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

/// The response with its whole body at hand, so that one that breaks off is an error here.
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
