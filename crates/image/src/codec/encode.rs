//! Responsible for compressing blocks: one encoder per worker, whose memory serves all its blocks.

use std::ffi::c_int;

use liblzma::stream::{Action, Check, Filters, LzmaOptions, Status, Stream};
use zstd_safe::CParameter;

use crate::format::{Format, XzSettings};
use crate::{Codec, Compression, Error};

/// Set in a block's size where the block is stored as it is.
pub(crate) const STORED: u32 = 1 << 24;

/// LZ4's slowest level, which `mksquashfs -Xhc` takes too.
const LZ4_HIGH_LEVEL: c_int = 12;

/// zstd's answer, as an error code, when the result would be longer than the room it got.
const ZSTD_NO_ROOM: usize = 70_usize.wrapping_neg();

/// Compresses one block after another.
pub(crate) struct Encoder {
    library: Library,
    /// Room for one compressed block.
    room: Vec<u8>,
}

enum Library {
    Gzip(libdeflater::Compressor),
    Zstd(zstd_safe::CCtx<'static>),
    Lz4 {
        high: bool,
    },
    Xz {
        level: u32,
        settings: XzSettings,
        /// Room for the block compressed in another way.
        other: Vec<u8>,
    },
    None,
}

impl Encoder {
    pub(crate) fn new(format: &Format) -> Result<Encoder, Error> {
        let library = match format.compression {
            Compression::Gzip { level } => {
                let level = libdeflater::CompressionLvl::new(i32::from(level))
                    .map_err(|error| refused(Codec::Gzip, format!("{error:?}")))?;
                Library::Gzip(libdeflater::Compressor::new(level))
            }
            Compression::Zstd { level } => {
                let mut context = zstd_safe::CCtx::try_create()
                    .ok_or_else(|| refused(Codec::Zstd, "no memory"))?;
                context
                    .set_parameter(CParameter::CompressionLevel(i32::from(level)))
                    .map_err(|code| refused(Codec::Zstd, zstd_safe::get_error_name(code)))?;
                Library::Zstd(context)
            }
            Compression::Lz4 { high } => Library::Lz4 { high },
            Compression::Xz { level } => Library::Xz {
                level: u32::from(level),
                settings: format.xz,
                other: Vec::new(),
            },
            Compression::None => Library::None,
        };
        Ok(Encoder {
            library,
            room: Vec::new(),
        })
    }

    /// Appends the block to `out`, compressed where that makes it shorter. Returns its length in `out`, with [`STORED`]
    /// added where it was stored as it is.
    pub(crate) fn append(&mut self, block: &[u8], out: &mut Vec<u8>) -> Result<u32, Error> {
        if let Some(compressed) = self.compress(block)? {
            out.extend_from_slice(compressed);
            return Ok(compressed.len() as u32);
        }
        out.extend_from_slice(block);
        Ok(block.len() as u32 | STORED)
    }

    /// The block compressed, unless that makes it no shorter.
    fn compress(&mut self, block: &[u8]) -> Result<Option<&[u8]>, Error> {
        let most = block.len().saturating_sub(1);
        if most == 0 {
            return Ok(None);
        }
        if self.room.len() < most {
            self.room.resize(most, 0);
        }
        let room = &mut self.room[..most];
        let length = match &mut self.library {
            // Want of room is the only error there is.
            Library::Gzip(compressor) => compressor.zlib_compress(block, room).ok(),
            Library::Zstd(context) => match context.compress2(room, block) {
                Ok(length) => Some(length),
                Err(ZSTD_NO_ROOM) => None,
                Err(code) => return Err(refused(Codec::Zstd, zstd_safe::get_error_name(code))),
            },
            Library::Lz4 { high } => compress_lz4(block, room, *high),
            Library::Xz {
                level,
                settings,
                other,
            } => {
                let mut best = compress_xz(block, room, *level, settings.dictionary, None)?;
                // As its maker did, each filter is tried, and the shortest is taken.
                for filter in
                    (0..XzSettings::FILTERS).filter(|bit| settings.filters & 1 << bit != 0)
                {
                    other.resize(best.map_or(most, |best| best.saturating_sub(1)).max(1), 0);
                    let length =
                        compress_xz(block, other, *level, settings.dictionary, Some(filter))?;
                    if let Some(length) = length {
                        room[..length].copy_from_slice(&other[..length]);
                        best = Some(length);
                    }
                }
                best
            }
            Library::None => None,
        };
        Ok(length.map(|length| &self.room[..length]))
    }
}

fn compress_lz4(block: &[u8], room: &mut [u8], high: bool) -> Option<usize> {
    let (from, to) = (block.as_ptr().cast(), room.as_mut_ptr().cast());
    let length = c_int::try_from(block.len()).ok()?;
    let most = c_int::try_from(room.len()).ok()?;
    let written = if high {
        // SAFETY: both pointers are valid for the lengths given with them, and do not overlap.
        unsafe { lz4_sys::LZ4_compress_HC(from, to, length, most, LZ4_HIGH_LEVEL) }
    } else {
        // SAFETY: as above.
        unsafe { lz4_sys::LZ4_compress_default(from, to, length, most) }
    };
    usize::try_from(written).ok().filter(|written| *written > 0)
}

/// One xz stream with a CRC32, the only check that every kernel's decoder knows.
fn compress_xz(
    block: &[u8],
    room: &mut [u8],
    level: u32,
    dictionary: u32,
    filter: Option<u32>,
) -> Result<Option<usize>, Error> {
    let failed = |error: liblzma::stream::Error| refused(Codec::Xz, error.to_string());
    let mut options = LzmaOptions::new_preset(level).map_err(failed)?;
    options.dict_size(dictionary);
    let mut filters = Filters::new();
    match filter {
        Some(0) => filters.x86(),
        Some(1) => filters.powerpc(),
        Some(2) => filters.ia64(),
        Some(3) => filters.arm(),
        Some(4) => filters.arm_thumb(),
        Some(5) => filters.sparc(),
        _ => &mut filters,
    };
    filters.lzma2(&options);
    let mut stream = Stream::new_stream_encoder(&filters, Check::Crc32).map_err(failed)?;
    loop {
        let (read, written) = (stream.total_in() as usize, stream.total_out() as usize);
        match stream.process(&block[read..], &mut room[written..], Action::Finish) {
            Ok(Status::StreamEnd) => return Ok(Some(stream.total_out() as usize)),
            Ok(_) if stream.total_out() as usize == room.len() => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// What the image's options block says, where the codec needs one or its settings are not those readers assume.
pub(crate) fn options(compression: Compression) -> Option<Vec<u8>> {
    match compression {
        // Level, window bits, strategies. zlib knows no level above 9.
        Compression::Gzip { level } if level < 9 => {
            let mut options = u32::from(level).to_le_bytes().to_vec();
            options.extend(15_u16.to_le_bytes());
            options.extend(0_u16.to_le_bytes());
            Some(options)
        }
        Compression::Zstd { level } if level != 15 => Some(u32::from(level).to_le_bytes().to_vec()),
        // The format's version, without which the kernel refuses the image, and whether the high level was used.
        Compression::Lz4 { high } => {
            Some([1_u32.to_le_bytes(), u32::from(high).to_le_bytes()].concat())
        }
        _ => None,
    }
}

fn refused(codec: Codec, problem: impl Into<String>) -> Error {
    Error::Codec {
        action: "compress",
        codec: codec.name(),
        problem: problem.into(),
    }
}
