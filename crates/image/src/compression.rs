//! Responsible for the parameters of compression: codec, level and block size, valid together.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use crate::Error;

/// Compression codec of the SquashFS format. Not every codec can be written by this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Codec {
    /// Codec gzip: zlib streams.
    Gzip = 1,
    /// Codec lzma: the legacy "LZMA alone" format, which few readers support.
    Lzma = 2,
    /// Codec lzo: LZO1X blocks.
    Lzo = 3,
    /// Codec xz: XZ streams.
    Xz = 4,
    /// Codec lz4: LZ4 blocks.
    Lz4 = 5,
    /// Codec zstd: Zstandard frames.
    Zstd = 6,
}

impl Codec {
    /// Returns the codec with this number in a superblock.
    pub fn from_id(id: u16) -> Option<Codec> {
        Some(match id {
            1 => Codec::Gzip,
            2 => Codec::Lzma,
            3 => Codec::Lzo,
            4 => Codec::Xz,
            5 => Codec::Lz4,
            6 => Codec::Zstd,
            _ => return None,
        })
    }

    /// Returns the number of this codec in a superblock.
    pub fn id(self) -> u16 {
        self as u16
    }

    /// Returns the name of the codec as `mksquashfs -comp` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Codec::Gzip => "gzip",
            Codec::Lzma => "lzma",
            Codec::Lzo => "lzo",
            Codec::Xz => "xz",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Codec that can be written, with its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// zlib streams written by libdeflate. Its levels 10 to 12 search harder than zlib can.
    Gzip {
        /// Level from 1 to 12.
        level: u8,
    },
    /// Zstandard frames, written by libzstd.
    Zstd {
        /// Level from 1 to 22.
        level: u8,
    },
    /// LZ4 blocks: fast, but larger images.
    Lz4 {
        /// Whether to search much longer for a smaller image. Reading is as fast as without it.
        high: bool,
    },
    /// XZ streams: the smallest images, and the slowest to write and to read.
    Xz {
        /// Level from 0 to 9.
        level: u8,
    },
    /// No compression: blocks are stored unchanged.
    None,
}

impl Compression {
    /// Default level of zstd. Reading costs the same at every level, and above 3 a few percent of
    /// size cost several times the CPU time.
    pub(crate) const ZSTD_LEVEL: u8 = 3;
    /// Default level of gzip. Level 6 of libdeflate gives the size of level 9 of zlib.
    pub(crate) const GZIP_LEVEL: u8 = 6;
    /// Default level of xz, the same as in the xz program.
    pub(crate) const XZ_LEVEL: u8 = 6;

    /// Returns the codec for the superblock. An image without compression still has to name a
    /// codec: gzip, which every reader supports.
    pub fn codec(self) -> Codec {
        match self {
            Compression::Gzip { .. } | Compression::None => Codec::Gzip,
            Compression::Zstd { .. } => Codec::Zstd,
            Compression::Lz4 { .. } => Codec::Lz4,
            Compression::Xz { .. } => Codec::Xz,
        }
    }

    /// Estimates the time for packing this number of bytes, from measurements on processor cores of
    /// 2022.
    pub fn estimate(self, bytes: u64, threads: NonZeroUsize) -> Duration {
        let mb_per_second = match self {
            Compression::None => 1000,
            Compression::Lz4 { high: false } => 600,
            Compression::Zstd { level: ..=3 } => 350,
            Compression::Zstd { level: ..=6 } => 110,
            Compression::Gzip { level: ..=6 } => 100,
            Compression::Zstd { level: ..=12 } | Compression::Gzip { level: ..=9 } => 40,
            Compression::Lz4 { high: true } => 30,
            Compression::Zstd { level: ..=19 } => 10,
            Compression::Gzip { .. } | Compression::Xz { .. } => 6,
            Compression::Zstd { .. } => 3,
        };
        Duration::from_micros(bytes / mb_per_second / threads.get() as u64)
    }

    fn parse(text: &str) -> Option<Compression> {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        let level = |min: u8, max: u8, default: u8| match argument {
            None => Some(default),
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits
                .parse()
                .ok()
                .filter(|level| (min..=max).contains(level)),
            Some(_) => None,
        };
        Some(match name {
            "zstd" => Compression::Zstd {
                level: level(1, 22, Self::ZSTD_LEVEL)?,
            },
            "gzip" => Compression::Gzip {
                level: level(1, 12, Self::GZIP_LEVEL)?,
            },
            "xz" => Compression::Xz {
                level: level(0, 9, Self::XZ_LEVEL)?,
            },
            "lz4" => match argument {
                None => Compression::Lz4 { high: false },
                Some("hc") => Compression::Lz4 { high: true },
                Some(_) => return None,
            },
            "none" if argument.is_none() => Compression::None,
            _ => return None,
        })
    }
}

impl Default for Compression {
    fn default() -> Self {
        Compression::Zstd {
            level: Self::ZSTD_LEVEL,
        }
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text).ok_or_else(|| Error::InvalidOption {
            option: "compression",
            given: text.to_owned(),
            expected: "zstd:1..22, gzip:1..12, lz4, lz4:hc, xz:0..9 or none",
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Compression::Gzip { level } => write!(f, "gzip:{level}"),
            Compression::Zstd { level } => write!(f, "zstd:{level}"),
            Compression::Lz4 { high: false } => f.write_str("lz4"),
            Compression::Lz4 { high: true } => f.write_str("lz4:hc"),
            Compression::Xz { level } => write!(f, "xz:{level}"),
            Compression::None => f.write_str("none"),
        }
    }
}

/// Number of bytes that are compressed together: a power of two from 4 KiB to 1 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockSize(u32);

impl BlockSize {
    /// Smallest block size that the format allows.
    pub const MIN: BlockSize = BlockSize(4 << 10);
    /// Largest block size that the format allows.
    pub const MAX: BlockSize = BlockSize(1 << 20);

    /// Creates a block size of this number of bytes, if the format allows it.
    pub fn new(bytes: u32) -> Option<BlockSize> {
        (bytes.is_power_of_two() && (Self::MIN.0..=Self::MAX.0).contains(&bytes))
            .then_some(BlockSize(bytes))
    }

    /// Returns the block size in bytes.
    pub fn bytes(self) -> u32 {
        self.0
    }

    fn parse(text: &str) -> Option<BlockSize> {
        let (digits, unit) = match text.as_bytes().last()? {
            b'K' | b'k' => (&text[..text.len() - 1], 1 << 10),
            b'M' | b'm' => (&text[..text.len() - 1], 1 << 20),
            _ => (text, 1),
        };
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        BlockSize::new(digits.parse::<u32>().ok()?.checked_mul(unit)?)
    }
}

impl Default for BlockSize {
    /// Returns 128 KiB. Blocks of 1 MiB save an eighth of the size, but reading a few bytes then
    /// costs 2.4 times as much.
    fn default() -> Self {
        BlockSize(128 << 10)
    }
}

impl FromStr for BlockSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text).ok_or_else(|| Error::InvalidOption {
            option: "block size",
            given: text.to_owned(),
            expected: "a power of two from 4K to 1M",
        })
    }
}

impl fmt::Display for BlockSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 1 << 20 {
            f.write_str("1M")
        } else {
            write!(f, "{}K", self.0 >> 10)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use condense_diagnostics::Hint as _;

    use super::*;

    #[test]
    fn what_is_shown_is_what_is_parsed() {
        for text in [
            "zstd:1", "zstd:22", "gzip:1", "gzip:12", "lz4", "lz4:hc", "xz:0", "xz:9", "none",
        ] {
            assert_eq!(text.parse::<Compression>().unwrap().to_string(), text);
        }
        for text in ["4K", "128K", "512K", "1M"] {
            assert_eq!(text.parse::<BlockSize>().unwrap().to_string(), text);
        }
        assert_eq!("131072".parse::<BlockSize>().unwrap(), BlockSize::default());
    }

    #[test]
    fn a_codec_alone_has_its_default_level() {
        for (text, full) in [("zstd", "zstd:3"), ("gzip", "gzip:6"), ("xz", "xz:6")] {
            assert_eq!(text.parse::<Compression>().unwrap().to_string(), full);
        }
        assert_eq!(Compression::default().to_string(), "zstd:3");
    }

    #[test]
    fn invalid_options_are_refused() {
        for text in [
            "", "zstd:0", "zstd:23", "zstd:", "zstd:+3", "gzip:0", "gzip:13", "xz:10", "lz4:9",
            "none:1", "lzo", "ZSTD",
        ] {
            let error = text.parse::<Compression>().unwrap_err();
            assert!(error.hint().unwrap().contains("zstd:1..22"), "{text}");
        }
        for text in ["", "K", "2K", "2M", "100K", "4097", "0", "-4K", "99999999M"] {
            assert!(text.parse::<BlockSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn codec_ids_are_the_superblocks() {
        for id in 1..=6 {
            assert_eq!(Codec::from_id(id).unwrap().id(), id);
        }
        assert_eq!(Codec::from_id(0), None);
        assert_eq!(Codec::from_id(7), None);
    }
}
