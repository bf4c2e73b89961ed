//! Responsible for what binds all blocks of an image: codec, block size, and the options block that
//! readers obey.

use crate::codec::encode;
use crate::{BlockSize, Codec, Compression, Error, Reader};

/// Set in a table block's header where the block is stored as it is.
const STORED: u16 = 1 << 15;
/// The smallest dictionary of XZ, and what readers have for tables when no options block says more,
/// in bytes.
const XZ_DICTIONARY_MIN: u32 = 8 << 10;

/// How an image's blocks are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) compression: Compression,
    pub(crate) block_size: BlockSize,
    /// The options block with its header.
    pub(crate) options: Option<Vec<u8>>,
    pub(crate) xz: XzSettings,
    /// Whether blocks of another image are among them, about which nothing can be promised.
    pub(crate) is_mixed: bool,
}

/// What readers of XZ blocks are prepared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct XzSettings {
    /// In bytes.
    pub(crate) dictionary: u32,
    /// One bit for each filter that blocks may have gone through before they were compressed.
    pub(crate) filters: u32,
}

impl Format {
    /// Of an image of our own.
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

    /// Of an image that holds blocks of this one; nothing where its codec is not written here.
    pub(crate) fn of(donor: &Reader) -> Result<Option<Format>, Error> {
        let superblock = donor.superblock();
        let options = donor.options_block()?;
        let told = options.as_ref().map_or(&[][..], |options| &options.told);
        let number = |at: usize| {
            let bytes = told.get(at..at + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let compression = match superblock.codec {
            // How hard its maker searched says little of what is wanted now; the defaults are ours.
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
    /// How many filters the format knows.
    pub(crate) const FILTERS: u32 = 6;
}
