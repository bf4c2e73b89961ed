//! Responsible for checking sharded indices (CEP 16) before rattler reads them. Because of one
//! unreadable entry, rattler refuses a whole shard, or the whole index.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http::{Extensions, Method, StatusCode};
use rattler_conda_types::{Shard, ShardedRepodata};
use reqwest::{Request, Response, ResponseBuilderExt};
use reqwest_middleware::{Error, Middleware, Next};
use sha2::{Digest, Sha256};
use url::Url;

use super::notices::Notices;
use crate::{
    index_repair::{UnreadableEntry, leads_from, shards},
    secrets::url_without_secrets,
};

/// End of the path of the index itself. Other paths with the same file name ending are shards.
const INDEX: &str = "/repodata_shards.msgpack.zst";
const ENDING: &str = ".msgpack.zst";
/// Directory in which rattler caches uncompressed shards. A shard's file name is the digest of the
/// bytes that were sent.
const KEPT: &str = "shards-v1";
/// Number of unreadable entries in one shard that are reported by name.
const NAMED: usize = 5;

/// Middleware that leaves unreadable entries out of sharded indices.
pub(super) struct ShardRepair {
    index_dir: PathBuf,
    notices: Arc<Notices>,
    repaired: Arc<AtomicBool>,
}

/// Error for a shard that had unreadable entries. The shard is now in the cache without them, so a
/// second query succeeds.
#[derive(Debug, thiserror::Error)]
#[error("entries of `{url}` cannot be used")]
pub(crate) struct Repaired {
    url: String,
}

/// Error for an index that refers to packages at a URL that it must not refer to.
#[derive(Debug, thiserror::Error)]
#[error(
    "the index `{url}` says that its packages lie at `{place}`: no channel of the network may name files"
)]
pub(crate) struct LeadsAway {
    url: String,
    place: String,
}

impl ShardRepair {
    /// Returns the middleware. It sets `repaired` whenever the request of a shard fails and would
    /// succeed if repeated.
    pub(super) fn new(
        index_dir: PathBuf,
        notices: Arc<Notices>,
        repaired: Arc<AtomicBool>,
    ) -> Self {
        Self {
            index_dir,
            notices,
            repaired,
        }
    }

    fn say(&self, url: &str, unreadable: &[UnreadableEntry]) {
        for UnreadableEntry { entry, problem } in unreadable.iter().take(NAMED) {
            self.notices.add(format!(
                "`{entry}` in `{url}` cannot be used and is left out: {problem}"
            ));
        }
        if unreadable.len() > NAMED {
            let more = unreadable.len() - NAMED;
            self.notices
                .add(format!("{more} more entries in `{url}` are left out"));
        }
    }

    /// Returns the index in a form that rattler can read.
    fn index(&self, url: &Url, sent: Bytes, decoded: &[u8]) -> Result<Bytes, Error> {
        let shown = url_without_secrets(url);
        let read = |bytes: &[u8]| rmp_serde::from_slice::<ShardedRepodata>(bytes);
        let (index, bytes) = match (read(decoded), shards::drop_unreadable_shards(decoded)) {
            (Ok(index), _) => (index, sent),
            (Err(_), Some((repaired, unreadable))) => {
                self.say(&shown, &unreadable);
                let index = read(&repaired).map_err(Error::middleware)?;
                let bytes = zstd::encode_all(&*repaired, 1).map_err(Error::middleware)?;
                (index, bytes.into())
            }
            // rattler reports the fault.
            (Err(_), None) => return Ok(sent),
        };
        for place in [&index.info.base_url, &index.info.shards_base_url] {
            let Ok(place) = url.join(place) else { continue };
            let (from, to) = (url.scheme(), place.scheme());
            if leads_from(from, to) {
                return Err(Error::middleware(LeadsAway {
                    url: shown,
                    place: url_without_secrets(&place),
                }));
            }
            if (from, to) == ("https", "http") {
                self.notices.add(format!(
                    "`{shown}` sends its readers from HTTPS to `{}`, which anybody on the way can change",
                    url_without_secrets(&place)
                ));
            }
        }
        Ok(bytes)
    }

    /// Refuses a shard with unreadable entries, and writes the shard without them into rattler's
    /// cache, which rattler reads before it sends a request.
    fn part(&self, url: &Url, sent: &[u8], decoded: &[u8]) -> Result<(), Error> {
        if rmp_serde::from_slice::<Shard>(decoded).is_ok() {
            return Ok(());
        }
        let name = url.path().rsplit('/').next().unwrap_or_default();
        let digest = name.strip_suffix(ENDING).unwrap_or_default();
        let Some((repaired, unreadable)) = shards::drop_unreadable_records(decoded) else {
            return Ok(());
        };
        // rattler itself refuses bytes that do not have the digest in the index.
        if hex::encode(Sha256::digest(sent)) != digest {
            return Ok(());
        }
        let url = url_without_secrets(url);
        let dir = self.index_dir.join(KEPT);
        let path = dir.join(format!("{digest}.msgpack"));
        let new = dir.join(format!("{digest}.{}.new", std::process::id()));
        fs_err::create_dir_all(&dir)
            .and_then(|()| fs_err::write(&new, repaired))
            .and_then(|()| fs_err::rename(&new, &path))
            .map_err(Error::middleware)?;
        self.say(&url, &unreadable);
        self.repaired.store(true, Ordering::Relaxed);
        Err(Error::middleware(Repaired { url }))
    }
}

#[async_trait::async_trait]
impl Middleware for ShardRepair {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let url = request.url().clone();
        let is_part = request.method() == Method::GET && url.path().ends_with(ENDING);
        let response = next.run(request, extensions).await?;
        if !is_part || response.status() != StatusCode::OK {
            return Ok(response);
        }
        let mut builder = http::Response::builder()
            .status(response.status())
            .version(response.version())
            .url(response.url().clone());
        if let Some(headers) = builder.headers_mut() {
            headers.clone_from(response.headers());
        }
        // The `bounds` middleware has limited the compressed and the uncompressed length already.
        let mut bytes = response.bytes().await?;
        if let Ok(decoded) = zstd::decode_all(&*bytes) {
            if url.path().ends_with(INDEX) {
                bytes = self.index(&url, bytes, &decoded)?;
            } else {
                self.part(&url, &bytes, &decoded)?;
            }
        }
        let response = builder
            .body(bytes)
            .expect("status and headers were those of a response");
        Ok(response.into())
    }
}
