//! Responsible for the estimate of a build's result and time.
//!
//! The sizes were measured with NumPy 1.26, SciPy, pandas, Matplotlib, h5py, scikit-learn and what
//! they need: wheels of 107 MB, or one archive of 72 MB with zstd at level 19, become 12,770 files
//! of 471 MB with byte code, and an image of 150 MB with zstd:3, 144 MB with gzip:6, 209 MB with
//! lz4. The speeds follow from docs/benchmarks.md. Estimates are for orientation: the content of
//! archives differs, and so do disks and networks.

use std::thread::available_parallelism;

use condense_image::{Codec, Compression};

/// Size of unpacked packages, byte code included, by the size of their archives. Archives of conda
/// are compressed with zstd at a high level, and wheels with deflate.
const UNPACKED_PER_ARCHIVE: f64 = 6.2;
const UNPACKED_PER_WHEEL: f64 = 4.4;
/// Number of bytes of unpacked files that one core packs in a second with zstd:3, read back and
/// verified.
const PACKED_BYTES_PER_SECOND: f64 = 160e6;
/// Number of bytes of unpacked files that one core unpacks and links in a second.
const LINKED_BYTES_PER_SECOND: f64 = 300e6;
/// Number of bytes of a SIF that one core makes of a registry's layers in a second.
const PULLED_BYTES_PER_SECOND: f64 = 12e6;
/// Number of bytes of wheels that pip installs in a second, byte code included.
const PIP_BYTES_PER_SECOND: f64 = 6e6;
/// Assumed speed of downloads in bytes per second: 160 Mbit/s.
const DOWNLOADED_BYTES_PER_SECOND: f64 = 20e6;

/// Amounts from which an estimate is made.
#[derive(Debug, Clone)]
pub(crate) struct Amounts {
    /// Size in bytes of all archives of conda.
    pub(crate) archive_bytes: u64,
    /// Size in bytes of all wheels.
    pub(crate) wheel_bytes: u64,
    /// Number of bytes that are not on this machine.
    pub(crate) download_bytes: u64,
    /// Number of bytes of layers that become a SIF.
    pub(crate) base_bytes: u64,
    pub(crate) steps: Vec<Step>,
    pub(crate) compression: Compression,
}

/// A step that takes time by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Reading the channels, solving and putting together.
    Fixed,
    /// The start of a container.
    Container,
    /// pip or uv, without the installation of wheels.
    Pip,
    /// A script of the user, of which nothing is known.
    Script,
}

/// Expected result and time of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Estimate {
    pub(crate) download_bytes: u64,
    pub(crate) image_bytes: u64,
    pub(crate) seconds: u64,
}

impl Step {
    fn seconds(self) -> f64 {
        match self {
            Self::Fixed => 1.0,
            Self::Container => 0.3,
            Self::Pip => 4.0,
            Self::Script => 2.0,
        }
    }
}

impl Estimate {
    #[allow(clippy::cast_precision_loss, reason = "estimates have two digits")]
    pub(crate) fn new(amounts: &Amounts) -> Self {
        let unpacked = amounts.archive_bytes as f64 * UNPACKED_PER_ARCHIVE
            + amounts.wheel_bytes as f64 * UNPACKED_PER_WHEEL;
        let of_packages = Self::of_files(unpacked, amounts.compression);
        let cores = cores();
        let seconds = of_packages.1
            + amounts.archive_bytes as f64 * UNPACKED_PER_ARCHIVE / LINKED_BYTES_PER_SECOND / cores
            + amounts.wheel_bytes as f64 / PIP_BYTES_PER_SECOND
            + amounts.base_bytes as f64 / PULLED_BYTES_PER_SECOND / cores
            + amounts.download_bytes as f64 / DOWNLOADED_BYTES_PER_SECOND
            + amounts.steps.iter().map(|step| step.seconds()).sum::<f64>();
        Self {
            download_bytes: amounts.download_bytes,
            image_bytes: rounded(of_packages.0),
            seconds: rounded(seconds.max(1.0)),
        }
    }

    /// Adds files of this size, which are packed as they are.
    #[allow(clippy::cast_precision_loss, reason = "estimates have two digits")]
    pub(crate) fn add_files(&mut self, bytes: u64, compression: Compression) {
        let (size, seconds) = Self::of_files(bytes as f64, compression);
        self.image_bytes += rounded(size);
        self.seconds += rounded(seconds);
    }

    /// Adds an image that exists. Its blocks are reused unless everything `is_whole`, which is
    /// unpacked and packed again.
    #[allow(clippy::cast_precision_loss, reason = "estimates have two digits")]
    pub(crate) fn add_image(&mut self, bytes: u64, is_whole: bool, compression: Compression) {
        self.image_bytes += bytes;
        if is_whole {
            let files = bytes as f64 / behaviour(Codec::Zstd).0;
            let (_, seconds) = Self::of_files(files, compression);
            self.seconds += rounded(seconds + files / LINKED_BYTES_PER_SECOND / cores());
        }
    }

    /// Returns the size in bytes of an image of files with this size, and the seconds of packing
    /// and verifying it.
    pub(crate) fn of_files(bytes: f64, compression: Compression) -> (f64, f64) {
        let (ratio, slowness) = behaviour(compression.codec());
        (
            bytes * ratio,
            bytes * slowness / PACKED_BYTES_PER_SECOND / cores(),
        )
    }
}

/// Returns the size of an image by the size of its files, and the time of packing by that of
/// zstd:3.
fn behaviour(codec: Codec) -> (f64, f64) {
    match codec {
        Codec::Zstd => (0.32, 1.0),
        Codec::Gzip => (0.31, 2.6),
        Codec::Lz4 => (0.44, 0.9),
        Codec::Xz => (0.22, 14.0),
        _ => (1.0, 0.5),
    }
}

#[allow(clippy::cast_precision_loss, reason = "no machine has that many cores")]
fn cores() -> f64 {
    available_parallelism().map_or(1.0, |cores| cores.get() as f64)
}

/// Returns a number with two digits that are not zero.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sizes and times are not negative, and far below the limit"
)]
fn rounded(number: f64) -> u64 {
    if number < 100.0 {
        return number.round() as u64;
    }
    let unit = 10_f64.powf(number.log10().floor() - 1.0);
    ((number / unit).round() * unit) as u64
}
