//! Responsible for the steps of a pull: resolve the reference, download the layers, write the SIF.

use std::collections::HashMap;
use std::io::Read;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use condense_image::{BlockSize, Compression, PackOptions, Sif};
use condense_publish::{Existing, Output};
use futures::{StreamExt, TryStreamExt};
use tokio::task::JoinHandle;

use super::assemble::{Packing, SifParts};
use super::cache::Cache;
use super::cancel::Cancel;
use super::digest::Digest;
use super::fetch::{Fetched, Wanted, fetch as fetch_blob};
use super::follow::FollowedDownload;
use super::layer::{Check, Failure, Layer, Origin, Stream};
use super::name::Name;
use super::platform::Platform;
use super::progress::{Phase, Progress};
use super::registry::{Access, Registry};
use super::resolve::{Blob, BlobPlace, Image, Request, Resolved};
use super::source::{Format, Local, Location, Source};
use super::store::Store;
use crate::Error;

/// Mode of a SIF file. It is executable, because `./x.sif` starts it with a runtime.
const MODE: u32 = 0o755;
/// Number of bytes that are read at once from a SIF that is copied.
const COPY_LEN: usize = 1 << 20;
/// Part of the names of finished images in the cache. Increase it when the same source gives other
/// bytes than before.
const GENERATION: u32 = 1;

/// Options of a pull.
#[derive(Clone)]
pub struct PullOptions {
    /// Options of access to registries.
    pub access: Access,
    /// Platform of the image; this machine's by default.
    pub platform: Option<Platform>,
    /// Directory for decompressed contents, which are written to files without names.
    pub scratch_dir: PathBuf,
    /// Compression of the root file system.
    pub compression: Compression,
    /// Number of packing threads; one for each core by default.
    pub threads: Option<NonZeroUsize>,
    /// Number of layers that are processed at the same time.
    pub downloads: NonZeroUsize,
    /// Time of files and objects without a time of their own, in seconds since 1970. The default is
    /// the image's creation time.
    pub epoch: Option<u32>,
    /// Cancel flag. When it becomes true, the pull ends with [`Error::Cancelled`].
    pub cancel: Option<Arc<AtomicBool>>,
    /// Progress callbacks of the pull.
    pub progress: Arc<dyn Progress>,
}

impl std::fmt::Debug for PullOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullOptions")
            .field("access", &self.access)
            .field("platform", &self.platform)
            .field("compression", &self.compression)
            .finish_non_exhaustive()
    }
}

/// Result of a pull.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// Path of the SIF.
    pub path: PathBuf,
    /// Digest of the image's manifest, which identifies the image.
    pub digest: String,
}

/// Result of resolving an image without fetching its layers.
#[derive(Debug, Clone)]
pub struct Found {
    /// Digest of the image's manifest, which identifies the image.
    pub digest: String,
    /// Path of the SIF in the cache, if the cache has it already.
    pub cached: Option<PathBuf>,
    /// Size in bytes of what a pull would read: compressed layers, or the SIF.
    pub size_bytes: u64,
    /// Part of the size in bytes that a pull would download.
    pub download_bytes: u64,
    /// Architecture of the image in the wording of `uname -m`, if its configuration names it.
    pub architecture: Option<String>,
}

/// Makes a SIF of an image at `out`, which must not exist. If the pull fails, no file is left at
/// `out`.
///
/// # Errors
/// Returns an error if the image cannot be found, fetched or converted, or if the SIF cannot be
/// written.
pub fn pull(
    source: &Source,
    out: &Path,
    cache: &Cache,
    options: &PullOptions,
) -> Result<Pulled, Error> {
    let work = Work::new(source, cache, options);
    run(work.pull(out))
}

/// Makes a SIF of an image in the cache, unless the cache has it already. Later uses of the cache
/// may remove the SIF.
///
/// # Errors
/// Returns an error if the image cannot be found, fetched or converted, or if the cache cannot be
/// written.
pub fn fetch(source: &Source, cache: &Cache, options: &PullOptions) -> Result<Pulled, Error> {
    let work = Work::new(source, cache, options);
    run(work.fetch())
}

/// Resolves an image: reads its manifest and its configuration, and fetches no layer. Nothing is
/// written into the cache.
///
/// # Errors
/// Returns an error if the image cannot be found, or if its manifest cannot be understood.
pub fn resolve(source: &Source, cache: &Cache, options: &PullOptions) -> Result<Found, Error> {
    let work = Work::new(source, cache, options);
    run(work.look())
}

fn run<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    condense_threads::network()?.block_on(work)
}

/// Form in which a registry is expected to hold an image, from the scheme of its reference.
#[derive(Clone, Copy)]
enum Content {
    Layers,
    Sif,
}

/// One pull: its image and its options.
struct Work<'a> {
    source: &'a Source,
    cache: &'a Cache,
    options: &'a PullOptions,
    cancel: Cancel,
    /// Names of the image at the mirrors of its registry, with the access to each mirror.
    mirrored: Vec<(Name, Access)>,
    /// Flag that is set when one layer has failed, to stop the others.
    stop: Cancel,
}

/// Sets the stop flag when it is dropped, so that reading threads end when the pull fails.
struct StopOnDrop(Cancel);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(flag) = &self.0.0 {
            flag.store(true, Ordering::Relaxed);
        }
    }
}

impl<'a> Work<'a> {
    fn new(source: &'a Source, cache: &'a Cache, options: &'a PullOptions) -> Work<'a> {
        Work {
            source,
            cache,
            options,
            cancel: Cancel(options.cancel.clone()),
            mirrored: match &source.location {
                Location::Docker(name) | Location::Oras(name) => {
                    let mirrors = options.access.mirrors.iter();
                    mirrors
                        .filter_map(|mirror| options.access.for_mirror(mirror, name))
                        .collect()
                }
                Location::Local(_) => Vec::new(),
            },
            stop: Cancel(Some(Arc::new(AtomicBool::new(false)))),
        }
    }

    async fn pull(&self, out: &Path) -> Result<Pulled, Error> {
        self.cache.prepare()?;
        let resolved = self.find().await?;
        self.make(&resolved, out).await?;
        self.cache.trim()?;
        Ok(Pulled {
            path: out.to_owned(),
            digest: resolved.digest().to_string(),
        })
    }

    async fn fetch(&self) -> Result<Pulled, Error> {
        self.cache.prepare()?;
        let resolved = self.find().await?;
        let path = self.cache.sif_path(&self.key(&resolved));
        if Cache::open(&path)?.is_none() {
            match self.make(&resolved, &path).await {
                // Another process may have made the same SIF meanwhile.
                Err(error) if !path.exists() => return Err(error),
                _ => {}
            }
        }
        self.cache.trim_keeping(&path)?;
        Ok(Pulled {
            path,
            digest: resolved.digest().to_string(),
        })
    }

    async fn look(&self) -> Result<Found, Error> {
        let resolved = self.find().await?;
        let path = self.cache.sif_path(&self.key(&resolved));
        let cached = Cache::open(&path)?.is_some().then_some(path);
        let size_bytes = resolved.size_bytes();
        let missing = |wanted: &&&Wanted| !self.cache.blob_path(&wanted.digest).exists();
        let download_bytes = if cached.is_some() {
            0
        } else {
            let blobs = resolved.registry_blobs();
            blobs.iter().filter(missing).map(|wanted| wanted.size).sum()
        };
        Ok(Found {
            digest: resolved.digest().to_string(),
            cached,
            size_bytes,
            download_bytes,
            architecture: resolved.architecture(),
        })
    }

    /// Returns the name of the SIF in the cache. The same source with the same contents and the
    /// same options gives the same name.
    fn key(&self, resolved: &Resolved<'_>) -> String {
        let facts = format!(
            "{GENERATION}\n{}\n{}\n{}\n{:?}",
            self.source,
            resolved.digest(),
            self.options.compression,
            self.options.epoch
        );
        let [_, hex] = resolved.digest().path();
        let digest = Digest::sha256(facts.as_bytes());
        format!("{}-{}", &hex[..16], &digest.path()[1][..16])
    }

    /// Resolves the image at the first mirror that has it, or else at the place that the reference
    /// names.
    async fn find(&self) -> Result<Resolved<'_>, Error> {
        match &self.source.location {
            Location::Docker(name) => self.find_in_registries(name, Content::Layers).await,
            Location::Oras(name) => self.find_in_registries(name, Content::Sif).await,
            Location::Local(local) => self.find_in_store(local).await,
        }
    }

    async fn find_in_registries(
        &self,
        name: &'a Name,
        expected: Content,
    ) -> Result<Resolved<'_>, Error> {
        let reference = name.manifest_reference();
        for (name, access) in &self.mirrored {
            let registry = Registry::new(name, access, &self.cancel)?;
            match self.resolve(registry, &reference, expected).await {
                Ok(resolved) => return Ok(resolved),
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(_) => {}
            }
        }
        let registry = Registry::new(name, &self.options.access, &self.cancel)?;
        self.resolve(registry, &reference, expected).await
    }

    async fn resolve<'r>(
        &self,
        registry: Registry<'r>,
        reference: &str,
        expected: Content,
    ) -> Result<Resolved<'r>, Error> {
        let request = self.request();
        let resolved = request.in_registry(Arc::new(registry), reference).await?;
        match (expected, &resolved) {
            (Content::Sif, Resolved::Layers(_)) => Err(request.invalid(
                "it is an image in layers, not a SIF: take `docker://` for it".to_owned(),
            )),
            (Content::Layers, Resolved::Sif { .. }) => Err(request
                .invalid("it is a SIF, not an image in layers: take `oras://` for it".to_owned())),
            _ => Ok(resolved),
        }
    }

    async fn find_in_store(&self, local: &Local) -> Result<Resolved<'_>, Error> {
        let store = Store::open(local, &self.options.scratch_dir)?;
        let request = self.request();
        match local.format {
            Format::DockerArchive => request.in_docker_archive(&store, local),
            Format::Layout | Format::OciArchive => request.in_layout(&store, local).await,
        }
    }

    fn request(&self) -> Request<'_> {
        Request {
            shown: self.source.to_string(),
            platform: self.options.platform.as_ref(),
        }
    }

    async fn make(&self, resolved: &Resolved<'_>, out: &Path) -> Result<(), Error> {
        match resolved {
            Resolved::Sif {
                registry, wanted, ..
            } => {
                self.options.progress.begin(Phase::Fetch, wanted.size);
                self.download_to_cache(registry, wanted).await?;
                self.options.progress.end(Phase::Fetch);
                self.copy(wanted, out)
            }
            Resolved::Layers(image) => {
                let layers = self.layers(image).await?;
                let parts = SifParts {
                    source: self.source,
                    image,
                    layers: &layers,
                    epoch: self.options.epoch,
                };
                let options = PackOptions {
                    compression: self.options.compression,
                    block_size: BlockSize::new(128 << 10).expect("a power of two within limits"),
                    threads: self.options.threads,
                    progress: Some(Arc::new(Packing(self.options.progress.clone()))),
                    cancel: self.options.cancel.clone(),
                    ..PackOptions::default()
                };
                parts.write(out, &options, &*self.options.progress)
            }
        }
    }

    /// Reads all layers. A layer that the image names more than once is read once.
    async fn layers(&self, image: &Image<'_>) -> Result<Vec<Arc<Layer>>, Error> {
        let _stop = StopOnDrop(self.stop.clone());
        let distinct = image.distinct_layers();
        let progress = &self.options.progress;
        progress.begin(Phase::Fetch, distinct.iter().map(|blob| blob.size).sum());
        let read: HashMap<&str, Arc<Layer>> = futures::stream::iter(distinct)
            .map(async |blob| {
                let layer = self.layer(blob).await?;
                Ok::<_, Error>((blob.key.as_str(), Arc::new(layer)))
            })
            .buffer_unordered(self.options.downloads.get())
            .try_collect()
            .await?;
        progress.end(Phase::Fetch);
        Ok(image
            .layers
            .iter()
            .map(|blob| read[blob.key.as_str()].clone())
            .collect())
    }

    async fn layer(&self, blob: &Blob<'_>) -> Result<Layer, Error> {
        let failed = |failure| self.layer_failed(blob, failure);
        match &blob.place {
            BlobPlace::Local(part, stored) => {
                let origin = Origin::Stored {
                    file: part.file.clone(),
                    offset: part.offset,
                    size: part.size,
                };
                let check = Check {
                    stored: stored.clone(),
                    unpacked: blob.unpacked.clone(),
                };
                let layer = join(self.read(origin, check)).await.map_err(failed)?;
                self.options.progress.advance(Phase::Fetch, blob.size);
                Ok(layer)
            }
            BlobPlace::Registry(registry, wanted) => loop {
                let unpacked = blob.unpacked.clone();
                if let Some(layer) = self
                    .cached(wanted, unpacked.clone())
                    .await
                    .map_err(failed)?
                {
                    return Ok(layer);
                }
                let downloaded = self.download(registry, wanted, unpacked, &failed);
                if let Some(layer) = downloaded.await? {
                    return Ok(layer);
                }
            },
        }
    }

    /// Reads a layer from the cache and checks its digest. Returns `None` if the cache has no valid
    /// copy.
    async fn cached(
        &self,
        wanted: &Wanted,
        unpacked: Option<Digest>,
    ) -> Result<Option<Layer>, Failure> {
        let path = self.cache.blob_path(&wanted.digest);
        let Ok(Some(file)) = Cache::open(&path) else {
            return Ok(None);
        };
        let size = file.metadata().map_err(Failure::Read)?.len();
        let origin = Origin::Stored {
            file: Arc::new(file),
            offset: 0,
            size,
        };
        let check = Check::stored(wanted.digest.clone()).and_unpacked(unpacked);
        match join(self.read(origin, check)).await {
            Ok(layer) if size == wanted.size => {
                self.options.progress.advance(Phase::Fetch, wanted.size);
                Ok(Some(layer))
            }
            Err(failure) if self.cancel.is_set() || !failure.is_damage() => Err(failure),
            _ => {
                // The copy is damaged, as after a full disk or a killed process. It is fetched
                // again.
                fs_err::remove_file(&path).map_err(Failure::Read)?;
                Ok(None)
            }
        }
    }

    /// Reads a layer while it is downloaded. Returns `None` if the caller must look into the cache
    /// again.
    async fn download(
        &self,
        registry: &Registry<'_>,
        wanted: &Wanted,
        unpacked: Option<Digest>,
        failed: &dyn Fn(Failure) -> Error,
    ) -> Result<Option<Layer>, Error> {
        let (writer, reader) = FollowedDownload::begin();
        let check = Check::default().and_unpacked(unpacked);
        let mut reading = self.read(Origin::Following(reader), check);
        let download = fetch_blob(
            registry,
            wanted,
            self.cache,
            writer,
            &*self.options.progress,
        );
        tokio::pin!(download);
        let mut layer = None;
        let fetched = tokio::select! {
            fetched = &mut download => fetched?,
            read = &mut reading => {
                let read = read.expect("reading a layer does not panic");
                if let Err(failure @ Failure::Spool { .. }) = read {
                    // The disk is full, so the rest of the layer could not be written either.
                    return Err(failed(failure));
                }
                layer = Some(read);
                // Only the end of the download shows whether the bytes were right.
                download.await?
            }
        };
        let layer = match layer {
            Some(layer) => layer,
            None => join(reading).await,
        };
        match fetched {
            Fetched::Complete => layer.map(Some).map_err(failed),
            Fetched::ByAnother | Fetched::Corrupt => Ok(None),
        }
    }

    fn read(&self, origin: Origin, check: Check) -> JoinHandle<Result<Layer, Failure>> {
        let stream = Stream::new(origin, check, self.cancel.clone(), self.stop.clone());
        let scratch = self.options.scratch_dir.clone();
        tokio::task::spawn_blocking(move || Layer::read(stream, &scratch))
    }

    fn layer_failed(&self, blob: &Blob<'_>, failure: Failure) -> Error {
        if self.cancel.is_set() {
            return Error::Cancelled;
        }
        match failure {
            Failure::Spool { dir, source } => Error::Io {
                action: "write a layer's contents to",
                path: dir,
                source,
            },
            failure => Error::Layer {
                image: self.source.to_string(),
                layer: blob.key.clone(),
                source: Box::new(failure),
            },
        }
    }

    /// Downloads a blob into the cache without reading it as a layer.
    async fn download_to_cache(
        &self,
        registry: &Registry<'_>,
        wanted: &Wanted,
    ) -> Result<(), Error> {
        loop {
            if Cache::open(&self.cache.blob_path(&wanted.digest))?.is_some() {
                return Ok(());
            }
            let (writer, _) = FollowedDownload::begin();
            fetch_blob(
                registry,
                wanted,
                self.cache,
                writer,
                &*self.options.progress,
            )
            .await?;
        }
    }

    /// Copies a SIF from the cache and checks its digest meanwhile.
    fn copy(&self, wanted: &Wanted, out: &Path) -> Result<(), Error> {
        let path = self.cache.blob_path(&wanted.digest);
        let mut blob = condense_input::open(&path).map_err(Error::io("open", &path))?;
        let mut copy = Output::create_image(out, Existing::Refuse)?;
        let mode = std::fs::Permissions::from_mode(MODE);
        let permitted = copy.file().set_permissions(mode);
        permitted.map_err(Error::io("create", out))?;
        let mut hasher = wanted.digest.hasher();
        let mut chunk = vec![0; COPY_LEN];
        loop {
            self.cancel.check()?;
            let len = blob.read(&mut chunk).map_err(Error::io("read", &path))?;
            if len == 0 {
                break;
            }
            hasher.update(&chunk[..len]);
            std::io::Write::write_all(&mut copy, &chunk[..len]).map_err(Error::io("write", out))?;
        }
        if hasher.finish() != wanted.digest {
            fs_err::remove_file(&path).map_err(Error::io("remove", &path))?;
            return Err(Error::InvalidImage {
                image: self.source.to_string(),
                problem: "the copy of it in the cache was damaged, and is gone now: try again"
                    .to_owned(),
            });
        }
        Sif::open(copy.path())?;
        Ok(copy.publish()?)
    }
}

async fn join<T>(handle: JoinHandle<T>) -> T {
    handle.await.expect("reading a layer does not panic")
}
