//! Responsible for refusing responses that are too long or too slow. The module limits the bytes
//! that are sent and the bytes after decompression, and requires a minimal speed.

use std::{
    collections::HashSet,
    io::{self, ErrorKind, Write},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use condense_input::Pace;
use futures::Stream;
use http::{
    Extensions, Method,
    header::{CONTENT_ENCODING, TRANSFER_ENCODING},
};
use reqwest::{Request, Response, ResponseBuilderExt};
use reqwest_middleware::{Middleware, Next};

use super::settings::NetworkSettings;
use crate::secrets::url_without_secrets;

/// Limits for an archive. The largest packages have some gigabytes. The limit matters for packages
/// for which the index gives no size.
const ARCHIVE: Bounds = Bounds {
    encoded: 64 << 30,
    decoded: u64::MAX,
};

/// Limits for the length of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    /// Number of bytes that are sent.
    encoded: u64,
    /// Number of bytes after decompression.
    decoded: u64,
}

impl Bounds {
    /// Returns limits for text. Both are the same, since compressed text is not longer than the
    /// text itself.
    fn of_text(most: u64) -> Self {
        Self {
            encoded: most,
            decoded: most,
        }
    }
}

/// Error for a response that is longer than any real response of its kind, before or after
/// decompression.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{url}` {verb} more than {most} bytes, which no index has")]
pub(crate) struct Excess {
    url: String,
    verb: &'static str,
    most: u64,
}

/// Middleware that limits the body of every response.
pub(super) struct Bounded {
    window: Duration,
    index: Bounds,
    part: Bounds,
    /// URLs with responses that were refused. rattler would otherwise request them again.
    refused: Arc<Mutex<HashSet<String>>>,
}

impl Bounded {
    /// Returns the middleware with the limits of the settings.
    pub(super) fn new(settings: &NetworkSettings) -> Self {
        Self {
            window: settings.read_timeout,
            index: Bounds::of_text(settings.index_bytes_max),
            part: Bounds::of_text(settings.part_bytes_max),
            refused: Arc::default(),
        }
    }

    /// Returns the limits for the response to a request, by the request's path.
    fn bounds(&self, path: &str) -> Bounds {
        let ends = |endings: &[&str]| endings.iter().any(|ending| path.ends_with(ending));
        if ends(&[".conda", ".tar.bz2", ".whl"]) {
            ARCHIVE
        } else if ends(&[".json", ".json.zst", ".json.bz2"]) {
            self.index
        } else {
            self.part
        }
    }
}

#[async_trait::async_trait]
impl Middleware for Bounded {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let url = url_without_secrets(request.url());
        let path = request.url().path().to_owned();
        let bounds = self.bounds(&path);
        let is_refused = {
            let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            refused.contains(&url)
        };
        if is_refused {
            return Err(reqwest_middleware::Error::middleware(Excess {
                url,
                verb: "had",
                most: bounds.encoded.min(bounds.decoded),
            }));
        }
        let is_get = request.method() == Method::GET;
        let response = next.run(request, extensions).await?;
        if !is_get {
            return Ok(response);
        }
        let decoder = decoder(&response, &path, bounds.decoded);
        let mut builder = http::Response::builder()
            .status(response.status())
            .version(response.version())
            .url(response.url().clone());
        if let Some(headers) = builder.headers_mut() {
            headers.clone_from(response.headers());
        }
        let body = Body {
            inner: Box::pin(response.bytes_stream()),
            url,
            bounds,
            sent: 0,
            decoder,
            pace: Pace::new(self.window),
            waiting: None,
            refused: Arc::clone(&self.refused),
        };
        let response = builder
            .body(reqwest::Body::wrap_stream(body))
            .expect("status and headers were those of a response");
        Ok(response.into())
    }
}

type Decoder = Box<dyn Write + Send>;

/// Returns a writer that decompresses a response and counts the uncompressed bytes. Returns `None`
/// if nothing has to be counted.
fn decoder(response: &Response, path: &str, most: u64) -> Option<Decoder> {
    let is_gzip = [CONTENT_ENCODING, TRANSFER_ENCODING].iter().any(|name| {
        response
            .headers()
            .get_all(name)
            .iter()
            .any(|word| word == "gzip")
    });
    let counter = Counter { bytes: 0, most };
    let content: Decoder = if most == u64::MAX {
        return None;
    } else if has_ending(path, "zst") {
        Box::new(zstd::stream::write::Decoder::new(counter).ok()?)
    } else if has_ending(path, "bz2") {
        Box::new(bzip2::write::BzDecoder::new(counter))
    } else if is_gzip {
        Box::new(counter)
    } else {
        return None;
    };
    Some(if is_gzip {
        Box::new(flate2::write::GzDecoder::new(content))
    } else {
        content
    })
}

/// Returns true if a path has this file name ending. The comparison is case-sensitive, since
/// rattler requests indices by names in lower case only.
fn has_ending(path: &str, ending: &str) -> bool {
    path.rsplit_once('.')
        .is_some_and(|(_, found)| found == ending)
}

/// Counts bytes without keeping them.
struct Counter {
    bytes: u64,
    most: u64,
}

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.most {
            return Err(ErrorKind::FileTooLarge.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Body of a response with limits for length and speed.
struct Body {
    inner: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    url: String,
    bounds: Bounds,
    sent: u64,
    decoder: Option<Decoder>,
    pace: Pace,
    waiting: Option<Instant>,
    refused: Arc<Mutex<HashSet<String>>>,
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

impl Body {
    fn look_at(&mut self, chunk: &[u8]) -> Result<(), AnyError> {
        let waited = self
            .waiting
            .take()
            .map_or(Duration::ZERO, |since| since.elapsed());
        self.pace.count(waited, chunk.len())?;
        self.sent += chunk.len() as u64;
        if self.sent > self.bounds.encoded {
            return Err(self.refuse("has", self.bounds.encoded));
        }
        let Some(decoder) = &mut self.decoder else {
            return Ok(());
        };
        match decoder.write_all(chunk) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::FileTooLarge => {
                Err(self.refuse("becomes", self.bounds.decoded))
            }
            // These bytes come after the end of the compressed data, and
            // rattler does not read them.
            Err(error) if error.kind() == ErrorKind::WriteZero => {
                self.decoder = None;
                Ok(())
            }
            Err(error) => Err(format!("its compression is damaged: {error}").into()),
        }
    }

    fn refuse(&self, verb: &'static str, most: u64) -> AnyError {
        let url = self.url.clone();
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.insert(url.clone());
        Excess { url, verb, most }.into()
    }
}

impl Stream for Body {
    type Item = Result<Bytes, AnyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.inner.as_mut().poll_next(context) {
            Poll::Pending => {
                self.waiting.get_or_insert_with(Instant::now);
                Poll::Pending
            }
            Poll::Ready(Some(Ok(chunk))) => Poll::Ready(Some(self.look_at(&chunk).map(|()| chunk))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
        }
    }
}

/// Returns true if the error or one of its sources has the type `C`.
pub(super) fn is_caused_by<C: std::error::Error + 'static>(
    error: &(dyn std::error::Error + 'static),
) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(<dyn std::error::Error>::is::<C>)
}

#[cfg(test)]
mod tests {
    use super::{super::NetworkSettings, ARCHIVE, Bounded, Counter};
    use std::io::{Read, Write};

    #[test]
    fn the_limits_of_a_response_depend_on_the_path() {
        let bounded = Bounded::new(&NetworkSettings::new("cache"));
        let (index, part) = (bounded.index, bounded.part);
        for (path, expected) in [
            ("/c/linux-64/repodata.json", index),
            ("/c/linux-64/repodata.json.zst", index),
            ("/c/linux-64/repodata.json.bz2", index),
            ("/c/linux-64/repodata_shards.msgpack.zst", part),
            ("/c/linux-64/x-1-0.conda", ARCHIVE),
            ("/c/linux-64/x-1-0.tar.bz2", ARCHIVE),
            ("/c/notices", part),
        ] {
            assert_eq!(bounded.bounds(path), expected, "{path}");
        }
    }

    #[test]
    fn a_bomb_is_counted_and_not_kept() {
        let zeros = zstd::encode_all(std::io::repeat(0).take(100 << 20), 1).expect("compresses");
        assert!(zeros.len() < 100 << 10, "{}", zeros.len());
        for (most, fits) in [(100 << 20, true), ((100 << 20) - 1, false)] {
            let counter = Counter { bytes: 0, most };
            let mut decoder = zstd::stream::write::Decoder::new(counter).expect("starts");
            let written = decoder.write_all(&zeros).and_then(|()| decoder.flush());
            assert_eq!(written.is_ok(), fits);
        }
    }
}
