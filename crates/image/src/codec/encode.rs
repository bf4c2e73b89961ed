//! Responsible for compressing blocks. Each worker has one encoder, whose memory is reused for all
//! blocks.

use std::ffi::c_int;

use liblzma::stream::{Action, Check, Filters, LzmaOptions, Status, Stream};
use zstd_safe::{CParameter, WriteBuf};

use crate::format::{Format, STORED, XzSettings};
use crate::{Codec, Compression, Error};

/// Slowest level of LZ4, which `mksquashfs -Xhc` uses too.
const LZ4_HIGH_LEVEL: c_int = 12;

/// Error code of zstd for a result that is longer than the output buffer.
const ZSTD_OUTPUT_TOO_SMALL: usize = 70_usize.wrapping_neg();

/// Compressor that is used for one block after another.
pub(crate) struct Encoder {
    library: Library,
    /// Buffer for one compressed block.
    buffer: Vec<u8>,
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
        /// Buffer for the block compressed with another filter.
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
            buffer: Vec::new(),
        })
    }

    /// Appends the block to `out`, compressed if that makes it shorter. Returns the length in
    /// `out`, with [`STORED`] added if the block is stored without compression.
    pub(crate) fn append(&mut self, block: &[u8], out: &mut Vec<u8>) -> Result<u32, Error> {
        let start = out.len();
        if self.compress(block, out)? {
            return Ok((out.len() - start) as u32);
        }
        out.extend_from_slice(block);
        Ok(block.len() as u32 | STORED)
    }

    /// Appends the compressed block, unless compression makes it no shorter. Returns whether the
    /// block was appended.
    fn compress(&mut self, block: &[u8], out: &mut Vec<u8>) -> Result<bool, Error> {
        let max = block.len().saturating_sub(1);
        if max == 0 {
            return Ok(false);
        }
        // The fast codecs write directly to the end of `out`, because the time for copying the
        // result would be noticeable.
        match &mut self.library {
            Library::Zstd(context) => return compress_zstd(context, block, out),
            Library::Lz4 { high: false } => return Ok(compress_lz4(block, out)),
            _ => {}
        }
        if self.buffer.len() < max {
            self.buffer.resize(max, 0);
        }
        let buffer = &mut self.buffer[..max];
        let length = match &mut self.library {
            // The only possible error is that the buffer is too short.
            Library::Gzip(compressor) => compressor.zlib_compress(block, buffer).ok(),
            Library::Lz4 { .. } => compress_lz4_high(block, buffer),
            Library::Xz {
                level,
                settings,
                other,
            } => {
                let mut best = compress_xz(block, buffer, *level, settings.dictionary, None)?;
                // Each filter that the donor uses is tried, and the shortest result is taken, as
                // `mksquashfs` does.
                for filter in
                    (0..XzSettings::FILTERS).filter(|bit| settings.filters & 1 << bit != 0)
                {
                    other.resize(best.map_or(max, |best| best.saturating_sub(1)).max(1), 0);
                    let length =
                        compress_xz(block, other, *level, settings.dictionary, Some(filter))?;
                    if let Some(length) = length {
                        buffer[..length].copy_from_slice(&other[..length]);
                        best = Some(length);
                    }
                }
                best
            }
            Library::Zstd(_) | Library::None => None,
        };
        if let Some(length) = length {
            out.extend_from_slice(&self.buffer[..length]);
        }
        Ok(length.is_some())
    }
}

/// Writable part behind the end of a vector, of `length` bytes.
struct SpareCapacity<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    length: usize,
}

impl<'a> SpareCapacity<'a> {
    fn behind(out: &'a mut Vec<u8>, length: usize) -> SpareCapacity<'a> {
        out.reserve(length);
        let start = out.len();
        SpareCapacity { out, start, length }
    }
}

// SAFETY: `length` bytes from `start` on are within the capacity of the vector. The capacity does
// not change while this value borrows the vector.
unsafe impl WriteBuf for SpareCapacity<'_> {
    fn as_slice(&self) -> &[u8] {
        &self.out[self.start..]
    }

    fn capacity(&self) -> usize {
        self.length
    }

    fn as_mut_ptr(&mut self) -> *mut u8 {
        // SAFETY: `start` is within the allocation of the vector.
        unsafe { self.out.as_mut_ptr().add(self.start) }
    }

    unsafe fn filled_until(&mut self, length: usize) {
        // SAFETY: the caller has written `length` bytes, which is no more than the capacity.
        unsafe { self.out.set_len(self.start + length) }
    }
}

/// Compresses with zstd. The result of zstd near the end of its output buffer depends on the
/// buffer's length, so the buffer always has the same length for a block.
fn compress_zstd(
    context: &mut zstd_safe::CCtx<'static>,
    block: &[u8],
    out: &mut Vec<u8>,
) -> Result<bool, Error> {
    let mut buffer = SpareCapacity::behind(out, block.len() - 1);
    match context.compress2(&mut buffer, block) {
        Ok(_) => Ok(true),
        Err(ZSTD_OUTPUT_TOO_SMALL) => Ok(false),
        Err(code) => Err(refused(Codec::Zstd, zstd_safe::get_error_name(code))),
    }
}

/// Compresses with LZ4. The output buffer has room for the worst case, so LZ4 does not have to
/// check the remaining room at every step.
fn compress_lz4(block: &[u8], out: &mut Vec<u8>) -> bool {
    let Ok(length) = c_int::try_from(block.len()) else {
        return false;
    };
    // SAFETY: the function only computes a number from a number.
    let max = unsafe { lz4_sys::LZ4_compressBound(length) };
    let mut buffer = SpareCapacity::behind(out, usize::try_from(max).unwrap_or(0));
    let (from, to) = (block.as_ptr().cast(), buffer.as_mut_ptr().cast());
    // SAFETY: both pointers are valid for the lengths given with them, and the buffers do not
    // overlap.
    let written = unsafe { lz4_sys::LZ4_compress_default(from, to, length, max) };
    let written = usize::try_from(written).unwrap_or(0);
    let is_shorter = (1..block.len()).contains(&written);
    if is_shorter {
        // SAFETY: LZ4 has written `written` bytes.
        unsafe { buffer.filled_until(written) };
    }
    is_shorter
}

fn compress_lz4_high(block: &[u8], buffer: &mut [u8]) -> Option<usize> {
    let (from, to) = (block.as_ptr().cast(), buffer.as_mut_ptr().cast());
    let length = c_int::try_from(block.len()).ok()?;
    let max = c_int::try_from(buffer.len()).ok()?;
    // SAFETY: both pointers are valid for the lengths given with them, and the buffers do not
    // overlap.
    let written = unsafe { lz4_sys::LZ4_compress_HC(from, to, length, max, LZ4_HIGH_LEVEL) };
    usize::try_from(written).ok().filter(|written| *written > 0)
}

/// Compresses to one xz stream with a CRC32, the only check that the decoder of every kernel
/// supports.
fn compress_xz(
    block: &[u8],
    buffer: &mut [u8],
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
        match stream.process(&block[read..], &mut buffer[written..], Action::Finish) {
            Ok(Status::StreamEnd) => return Ok(Some(stream.total_out() as usize)),
            Ok(_) if stream.total_out() as usize == buffer.len() => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

fn refused(codec: Codec, problem: impl Into<String>) -> Error {
    Error::Codec {
        codec,
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{BlockSize, codec::decode::Decoder};

    /// Returns bytes that no codec makes shorter.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        std::iter::repeat_with(&mut next).take(length).collect()
    }

    fn every_compression() -> [(Compression, Option<Codec>); 6] {
        [
            (Compression::Gzip { level: 9 }, Some(Codec::Gzip)),
            (Compression::Zstd { level: 3 }, Some(Codec::Zstd)),
            (Compression::Lz4 { high: false }, Some(Codec::Lz4)),
            (Compression::Lz4 { high: true }, Some(Codec::Lz4)),
            (Compression::Xz { level: 6 }, Some(Codec::Xz)),
            (Compression::None, None),
        ]
    }

    #[test]
    fn a_block_is_stored_unless_compressing_makes_it_shorter() {
        for (compression, codec) in every_compression() {
            let format = Format::new(compression, BlockSize::default());
            let mut encoder = Encoder::new(&format).unwrap();
            let (mut compressed, mut stored) = (0, 0);
            // Noise with 0 to 399 zeros after it. Somewhere in this range each codec begins to make
            // the block shorter.
            let mixed = (0..400).map(|zeros| [noise(200), vec![0; zeros]].concat());
            for block in [Vec::new(), vec![7], noise(4096), vec![0; 4096]]
                .into_iter()
                .chain(mixed)
            {
                let mut out = b"before".to_vec();
                let size = encoder.append(&block, &mut out).unwrap();
                let (before, written) = out.split_at(6);
                assert_eq!(before, b"before");
                assert_eq!((size & !STORED) as usize, written.len());
                if size & STORED != 0 {
                    stored += 1;
                    assert_eq!(written, block, "{compression:?}");
                    continue;
                }
                compressed += 1;
                assert!(written.len() < block.len(), "{compression:?}");
                let mut decoded = vec![0xaa; block.len()];
                let length = Decoder::new(codec.unwrap())
                    .decode(written, &mut decoded)
                    .unwrap();
                assert_eq!(decoded[..length], block, "{compression:?}");
            }
            assert!(stored > 3, "{compression:?} makes noise shorter");
            assert_eq!(compressed > 300, codec.is_some(), "{compression:?}");
        }
    }

    #[test]
    fn a_byte_gained_is_enough() {
        for (compression, codec) in every_compression() {
            if codec.is_none() {
                continue;
            }
            let format = Format::new(compression, BlockSize::default());
            let mut encoder = Encoder::new(&format).unwrap();
            let least = (0..400).find_map(|zeros| {
                let block = [noise(200), vec![0; zeros]].concat();
                let mut out = Vec::new();
                let size = encoder.append(&block, &mut out).unwrap();
                (size & STORED == 0).then(|| block.len() - out.len())
            });
            // Each further zero adds one byte that can be saved, so the first saving is small. For
            // zstd it is 9 bytes.
            assert!(
                least.is_some_and(|gain| gain < 16),
                "{compression:?}: {least:?}"
            );
        }
    }

    #[test]
    fn filters_of_a_donor_are_tried_and_the_shortest_block_is_kept() {
        let mut format = Format::new(Compression::Xz { level: 6 }, BlockSize::default());
        // The code consists of x86 calls from many addresses to one function. The filter turns
        // their relative targets into the same absolute one.
        let mut code = Vec::new();
        for at in (0..32_768_u32).step_by(16) {
            code.push(0xe8);
            code.extend(0x0010_0000_u32.wrapping_sub(at + 5).to_le_bytes());
            code.extend(noise(11));
        }
        let length = |format: &Format| {
            let mut out = Vec::new();
            let size = Encoder::new(format)
                .unwrap()
                .append(&code, &mut out)
                .unwrap();
            assert_eq!(size as usize, out.len());
            let mut decoded = vec![0; code.len()];
            let found = Decoder::new(Codec::Xz).decode(&out, &mut decoded);
            assert_eq!((found, &decoded), (Ok(code.len()), &code));
            out.len()
        };
        let without = length(&format);
        format.xz.filters = 1;
        let with_x86 = length(&format);
        assert!(with_x86 < without, "{with_x86} of {without}");
        format.xz.filters = 0b11_1111;
        assert_eq!(length(&format), with_x86);
        // The SPARC filter does not help with x86 code.
        format.xz.filters = 0b10_0000;
        assert!(length(&format) <= without);
    }
}
