//! Responsible for the parameters that all blocks of an image share: codec, block size, and the
//! options block that readers obey.

use crate::{BlockSize, Compression};

/// Flag in the size of a block that is stored without compression.
pub(crate) const STORED: u32 = 1 << 24;
/// Flag in the header of a metadata block that is stored without compression.
pub(crate) const METADATA_STORED: u16 = 1 << 15;
/// Smallest dictionary of XZ in bytes. Without an options block, readers are prepared for a
/// dictionary of at least this size, which is that of a metadata block.
pub(crate) const XZ_DICTIONARY_MIN: u32 = 8 << 10;

/// Parameters with which the blocks of an image are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) compression: Compression,
    pub(crate) block_size: BlockSize,
    /// Options block with its header.
    pub(crate) options: Option<Vec<u8>>,
    pub(crate) xz: XzSettings,
    /// Whether the image also contains blocks of another image, about whose compression nothing can
    /// be assumed.
    pub(crate) is_mixed: bool,
}

/// Settings that readers of XZ blocks are prepared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct XzSettings {
    /// Size of the dictionary in bytes.
    pub(crate) dictionary: u32,
    /// Bit mask of the filters that may have been applied to blocks before compression.
    pub(crate) filters: u32,
}

impl Format {
    /// Creates the format of an image without a donor.
    pub(crate) fn new(compression: Compression, block_size: BlockSize) -> Format {
        let options = options(compression).map(|options| {
            let header = METADATA_STORED | options.len() as u16;
            [&header.to_le_bytes()[..], &options].concat()
        });
        Format {
            compression,
            block_size,
            options,
            xz: XzSettings {
                dictionary: block_size.bytes().max(XZ_DICTIONARY_MIN),
                filters: 0,
            },
            is_mixed: false,
        }
    }
}

impl XzSettings {
    /// Number of filters that the format knows.
    pub(crate) const FILTERS: u32 = 6;
}

/// Returns the content of the image's options block, if the codec requires one or if the settings
/// differ from those that readers assume.
fn options(compression: Compression) -> Option<Vec<u8>> {
    match compression {
        // The fields are level, window bits and strategies. zlib knows no level above 9.
        Compression::Gzip { level } if level < 9 => {
            let mut options = u32::from(level).to_le_bytes().to_vec();
            options.extend(15_u16.to_le_bytes());
            options.extend(0_u16.to_le_bytes());
            Some(options)
        }
        Compression::Zstd { level } if level != 15 => Some(u32::from(level).to_le_bytes().to_vec()),
        // The fields are the version of the format, without which the kernel refuses the image, and
        // whether the high level was used.
        Compression::Lz4 { high } => {
            Some([1_u32.to_le_bytes(), u32::from(high).to_le_bytes()].concat())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_written_where_readers_assume_something_else() {
        let words = |compression| options(compression).map(|bytes| hex::encode(&bytes));
        for (compression, expected) in [
            (Compression::Gzip { level: 8 }, Some("080000000f000000")),
            (Compression::Gzip { level: 9 }, None),
            (Compression::Gzip { level: 12 }, None),
            (Compression::Zstd { level: 3 }, Some("03000000")),
            (Compression::Zstd { level: 15 }, None),
            (Compression::Lz4 { high: false }, Some("0100000000000000")),
            (Compression::Lz4 { high: true }, Some("0100000001000000")),
            (Compression::Xz { level: 6 }, None),
            (Compression::None, None),
        ] {
            assert_eq!(words(compression).as_deref(), expected, "{compression:?}");
        }
    }
}
