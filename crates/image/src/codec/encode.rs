//! Responsible for compressing blocks, with working memory that is reused from block to block.

use std::ffi::c_int;

use liblzma::stream::{Action, Check, Filters, LzmaOptions, Status, Stream};

use crate::{Compression, Error};

/// lz4's own default for its thorough search.
const LZ4_HC_LEVEL: c_int = 12;

/// A codec's writing half.
pub(crate) enum Encoder {
    Gzip(libdeflater::Compressor),
    Lz4 { high: bool },
    Xz { level: u32, block_size: u32 },
    Zstd(zstd_safe::CCtx<'static>),
    None,
}

impl Encoder {
    /// An encoder for blocks of at most `block_size` bytes.
    pub(crate) fn new(compression: Compression, block_size: u32) -> Result<Encoder, Error> {
        let refused = |problem: String| Error::Codec {
            action: "compress",
            codec: compression.codec().name(),
            problem,
        };
        Ok(match compression {
            Compression::Gzip { level } => {
                let level = libdeflater::CompressionLvl::new(level.into())
                    .map_err(|error| refused(format!("{error:?}")))?;
                Encoder::Gzip(libdeflater::Compressor::new(level))
            }
            Compression::Lz4 { high } => Encoder::Lz4 { high },
            Compression::Xz { level } => Encoder::Xz {
                level: level.into(),
                block_size,
            },
            Compression::Zstd { level } => {
                let mut context = zstd_safe::CCtx::create();
                for parameter in [
                    zstd_safe::CParameter::CompressionLevel(level.into()),
                    zstd_safe::CParameter::ContentSizeFlag(true),
                    zstd_safe::CParameter::ChecksumFlag(false),
                ] {
                    context
                        .set_parameter(parameter)
                        .map_err(|code| refused(zstd_safe::get_error_name(code).to_owned()))?;
                }
                Encoder::Zstd(context)
            }
            Compression::None => Encoder::None,
        })
    }

    /// Compresses `block` into the front of `output` and says how many bytes that took; none when it did not become
    /// smaller, and then the block is stored as it is.
    pub(crate) fn encode(&mut self, block: &[u8], output: &mut Vec<u8>) -> Option<usize> {
        let room = block.len().saturating_sub(1);
        if output.len() < room {
            output.resize(room, 0);
        }
        let output = &mut output[..room];
        if room == 0 {
            return None;
        }
        match self {
            Encoder::Gzip(compressor) => compressor.zlib_compress(block, output).ok(),
            Encoder::Lz4 { high } => encode_lz4(block, output, *high),
            Encoder::Xz { level, block_size } => encode_xz(block, output, *level, *block_size),
            Encoder::Zstd(context) => context.compress2(output, block).ok(),
            Encoder::None => None,
        }
    }
}

fn encode_lz4(block: &[u8], output: &mut [u8], high: bool) -> Option<usize> {
    let (from, to) = (
        c_int::try_from(block.len()).ok()?,
        c_int::try_from(output.len()).ok()?,
    );
    // SAFETY: both pointers are valid for the lengths given with them, and lz4 stays within these.
    let length = unsafe {
        if high {
            lz4_sys::LZ4_compress_HC(
                block.as_ptr().cast(),
                output.as_mut_ptr().cast(),
                from,
                to,
                LZ4_HC_LEVEL,
            )
        } else {
            lz4_sys::LZ4_compress_default(
                block.as_ptr().cast(),
                output.as_mut_ptr().cast(),
                from,
                to,
            )
        }
    };
    usize::try_from(length).ok().filter(|length| *length > 0)
}

/// The dictionary is the image's block size, as the kernel expects when there is no options block.
fn encode_xz(block: &[u8], output: &mut [u8], level: u32, block_size: u32) -> Option<usize> {
    let mut options = LzmaOptions::new_preset(level).ok()?;
    options.dict_size(block_size.max(8192));
    let mut filters = Filters::new();
    filters.lzma2(&options);
    let mut stream = Stream::new_stream_encoder(&filters, Check::Crc32).ok()?;
    let mut used = 0;
    loop {
        let before = stream.total_in() as usize;
        let status = stream
            .process(&block[before..], &mut output[used..], Action::Finish)
            .ok()?;
        used = stream.total_out() as usize;
        match status {
            Status::StreamEnd => return Some(used),
            _ if used == output.len() => return None,
            _ => {}
        }
    }
}
