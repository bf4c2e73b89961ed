//! Responsible for the parameters that all blocks of an image share: codec, block size, and the
//! options block that readers obey.

use crate::codec::encode;
use crate::{BlockSize, Codec, Compression, Error, Reader};

/// Flag in the header of a metadata block that is stored without compression.
const STORED: u16 = 1 << 15;
/// Smallest dictionary of XZ in bytes. Without an options block, readers are prepared for a
/// dictionary of at least this size, which is that of a metadata block.
const XZ_DICTIONARY_MIN: u32 = 8 << 10;

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
        let options = encode::options(compression).map(|options| {
            let header = STORED | options.len() as u16;
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

    /// Returns the format of an image that reuses blocks of `donor`, or `None` if this crate cannot
    /// write the codec of the donor.
    pub(crate) fn of(donor: &Reader) -> Result<Option<Format>, Error> {
        let superblock = donor.superblock();
        let options = donor.options_block()?;
        let told = options.as_ref().map_or(&[][..], |options| &options.told);
        let number = |at: usize| {
            let bytes = told.get(at..at + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let compression = match superblock.codec {
            // The level of the donor's maker says little about the level that is wanted for new
            // content, so the levels are our defaults.
            Codec::Gzip => Compression::Gzip {
                level: Compression::GZIP_LEVEL,
            },
            Codec::Zstd => Compression::Zstd {
                level: Compression::ZSTD_LEVEL,
            },
            Codec::Xz => Compression::Xz {
                level: Compression::XZ_LEVEL,
            },
            Codec::Lz4 => Compression::Lz4 {
                high: number(4).unwrap_or(0) & 1 != 0,
            },
            Codec::Lzma | Codec::Lzo => return Ok(None),
        };
        let mut format = Format::new(compression, superblock.block_size);
        if superblock.codec == Codec::Xz
            && let (Some(dictionary), Some(filters)) = (number(0), number(4))
        {
            format.xz = XzSettings {
                dictionary,
                filters,
            };
            if !(XZ_DICTIONARY_MIN..=BlockSize::MAX.bytes()).contains(&dictionary)
                || filters >> XzSettings::FILTERS != 0
            {
                return Err(donor.corrupt(format!(
                    "its options tell of a dictionary of {dictionary} bytes and filters {filters:#x}"
                )));
            }
        }
        format.options = options.map(|options| options.raw);
        format.is_mixed = true;
        Ok(Some(format))
    }
}

impl XzSettings {
    /// Number of filters that the format knows.
    pub(crate) const FILTERS: u32 = 6;
}
