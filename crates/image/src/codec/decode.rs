//! Responsible for decompressing blocks into a buffer of given size, without writing beyond the
//! buffer.

use std::ffi::c_int;

use liblzma::stream::{Action, Status, Stream};

use crate::Codec;

/// Maximum amount of memory for decoding an XZ block, in bytes. A dictionary is never larger than
/// its block, so 1 MiB and the tables of the decoder are enough. Without a bound, a damaged header
/// could ask for 4 GiB.
const XZ_MEMORY_MAX: u64 = 16 << 20;

/// Decompressor of a codec, with its working memory, which is reused for all blocks.
pub(crate) enum Decoder {
    Gzip(libdeflater::Decompressor),
    Lz4,
    Lzma,
    Lzo,
    Xz,
    Zstd(zstd_safe::DCtx<'static>),
}

impl Decoder {
    /// Creates a decoder for this codec.
    pub(crate) fn new(codec: Codec) -> Decoder {
        match codec {
            Codec::Gzip => Decoder::Gzip(libdeflater::Decompressor::new()),
            Codec::Lz4 => Decoder::Lz4,
            Codec::Xz => Decoder::Xz,
            Codec::Zstd => Decoder::Zstd(zstd_safe::DCtx::create()),
            Codec::Lzma => Decoder::Lzma,
            Codec::Lzo => Decoder::Lzo,
        }
    }

    /// Decompresses `block` to the front of `output`. Returns the number of bytes written.
    ///
    /// # Errors
    /// Returns the message of the library if the block cannot be decompressed or does not fit.
    pub(crate) fn decode(&mut self, block: &[u8], output: &mut [u8]) -> Result<usize, String> {
        match self {
            Decoder::Gzip(decompressor) => decompressor
                .zlib_decompress(block, output)
                .map_err(|error| error.to_string()),
            Decoder::Lz4 => decode_lz4(block, output),
            Decoder::Lzma => decode_stream(Stream::new_lzma_decoder(XZ_MEMORY_MAX), block, output),
            Decoder::Lzo => super::lzo::decode(block, output).map_err(str::to_owned),
            Decoder::Xz => {
                decode_stream(Stream::new_stream_decoder(XZ_MEMORY_MAX, 0), block, output)
            }
            Decoder::Zstd(context) => context
                .decompress(output, block)
                .map_err(|code| zstd_safe::get_error_name(code).to_owned()),
        }
    }
}

fn decode_lz4(block: &[u8], output: &mut [u8]) -> Result<usize, String> {
    let (Ok(block_len), Ok(output_len)) =
        (c_int::try_from(block.len()), c_int::try_from(output.len()))
    else {
        return Err("the block is too large".to_owned());
    };
    // SAFETY: both pointers are valid for the lengths given with them, and `LZ4_decompress_safe`
    // stays within these lengths whatever the block contains.
    let decoded = unsafe {
        lz4_sys::LZ4_decompress_safe(
            block.as_ptr().cast(),
            output.as_mut_ptr().cast(),
            block_len,
            output_len,
        )
    };
    usize::try_from(decoded).map_err(|_| "the block is malformed or too large".to_owned())
}

fn decode_stream(
    stream: Result<Stream, liblzma::stream::Error>,
    block: &[u8],
    output: &mut [u8],
) -> Result<usize, String> {
    let mut stream = stream.map_err(|error| error.to_string())?;
    match stream.process(block, output, Action::Finish) {
        Ok(Status::StreamEnd) => Ok(stream.total_out() as usize),
        Ok(_) => Err("the block is cut short or too large".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXT: &[u8] = b"hello hello hello hello\n";

    /// `TEXT` as the reference tool of each codec compresses it.
    const BLOCKS: [(Codec, &str); 4] = [
        (Codec::Gzip, "78dacb48cdc9c957c84027b90070be08bb"),
        (Codec::Lz4, "6968656c6c6f20060050656c6c6f0a"),
        (
            Codec::Xz,
            "fd377a585a0000016922de360200210102000000bcef9e7ce00017000c5d00341949ee8de9560ac121b00000\
             0088590b00012418dbcc02c29042990d010000000001595a",
        ),
        (
            Codec::Zstd,
            "28b52ffd04586d00003868656c6c6f200a0100994b11a87c2ea8",
        ),
    ];

    #[test]
    fn blocks_of_every_codec_are_decoded() {
        for (codec, block) in BLOCKS {
            let block = hex::decode(block).unwrap();
            let mut decoder = Decoder::new(codec);
            let mut output = [0xaa; 64];
            // Each block is decoded twice, because the decoder keeps its working memory between
            // blocks.
            for _ in 0..2 {
                let len = decoder.decode(&block, &mut output).unwrap();
                assert_eq!(&output[..len], TEXT, "{codec}");
            }
        }
    }

    #[test]
    fn damaged_or_overlong_blocks_are_errors_and_leave_the_decoder_usable() {
        for (codec, block) in BLOCKS {
            let block = hex::decode(block).unwrap();
            let mut decoder = Decoder::new(codec);
            let mut short = [0; 23];
            assert!(
                decoder.decode(&block, &mut short).is_err(),
                "{codec}: overlong"
            );
            let mut output = [0; 64];
            let cut = &block[..block.len() / 2];
            assert_ne!(
                decoder.decode(cut, &mut output),
                Ok(TEXT.len()),
                "{codec}: cut"
            );
            assert_eq!(
                decoder.decode(&[], &mut output).unwrap_or(0),
                0,
                "{codec}: empty"
            );
            let len = decoder.decode(&block, &mut output).unwrap();
            assert_eq!(&output[..len], TEXT, "{codec}");
        }
    }
}
