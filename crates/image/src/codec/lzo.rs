//! Responsible for decompressing LZO1X. A block is a sequence of instructions, each of which copies
//! bytes from the block or from the output written so far.

/// Decompresses `block` to the front of `output`. Returns the number of bytes written.
pub(super) fn decode(block: &[u8], output: &mut [u8]) -> Result<usize, &'static str> {
    let mut input = Input(block);
    let mut output = Output {
        bytes: output,
        len: 0,
    };
    // The meaning of an instruction depends on the number of literals before it: none, one to
    // three, or four and more.
    let mut literals = 0;
    if let Some(first @ 18..) = block.first().copied() {
        input.byte()?;
        literals = usize::from(first - 17).min(4);
        output.literals(&mut input, usize::from(first - 17))?;
    }
    loop {
        let word = input.byte()?;
        let bits = usize::from(word);
        let (distance, length, after);
        match word {
            0..16 if literals == 0 => {
                let run = input.length(bits, 15)? + 3;
                output.literals(&mut input, run)?;
                literals = 4;
                continue;
            }
            0..16 => {
                let far = usize::from(input.byte()?) << 2 | bits >> 2;
                (distance, length) = if literals == 4 {
                    (far + 2049, 3)
                } else {
                    (far + 1, 2)
                };
                after = bits & 3;
            }
            16..32 => {
                length = input.length(bits & 7, 7)? + 2;
                let pair = input.pair()?;
                let far = (bits & 8) << 11 | pair >> 2;
                if far == 0 {
                    break;
                }
                (distance, after) = (far + 16_384, pair & 3);
            }
            32..64 => {
                length = input.length(bits & 31, 31)? + 2;
                let pair = input.pair()?;
                (distance, after) = ((pair >> 2) + 1, pair & 3);
            }
            64.. => {
                let far = usize::from(input.byte()?) << 3 | bits >> 2 & 7;
                (distance, length) = (far + 1, (bits >> 5) + 1);
                after = bits & 3;
            }
        }
        output.copy_back(distance, length)?;
        output.literals(&mut input, after)?;
        literals = after;
    }
    if input.0.is_empty() {
        Ok(output.len)
    } else {
        Err("there are bytes behind the block's end")
    }
}

/// Rest of the block that is not read yet.
struct Input<'b>(&'b [u8]);

impl<'b> Input<'b> {
    fn take(&mut self, len: usize) -> Result<&'b [u8], &'static str> {
        let (now, later) = self
            .0
            .split_at_checked(len)
            .ok_or("the block is cut short")?;
        self.0 = later;
        Ok(now)
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        Ok(self.take(1)?[0])
    }

    fn pair(&mut self) -> Result<usize, &'static str> {
        let pair = self.take(2)?;
        Ok(usize::from(u16::from_le_bytes([pair[0], pair[1]])))
    }

    /// Returns the length of an instruction. A length that does not fit into the instruction
    /// continues in the bytes after it, where each zero byte means 255.
    fn length(&mut self, bits: usize, max: usize) -> Result<usize, &'static str> {
        if bits > 0 {
            return Ok(bits);
        }
        let mut length = max;
        loop {
            match self.byte()? {
                0 => length += 255,
                last => return Ok(length + usize::from(last)),
            }
        }
    }
}

/// Output buffer, and the number of bytes written to it.
struct Output<'o> {
    bytes: &'o mut [u8],
    len: usize,
}

impl Output<'_> {
    fn literals(&mut self, input: &mut Input<'_>, len: usize) -> Result<(), &'static str> {
        let range = self.reserve(len)?;
        self.bytes[range.clone()].copy_from_slice(input.take(len)?);
        self.len = range.end;
        Ok(())
    }

    /// Copies `len` bytes from `distance` bytes back in the output. Source and destination may
    /// overlap.
    fn copy_back(&mut self, distance: usize, len: usize) -> Result<(), &'static str> {
        let range = self.reserve(len)?;
        let from = self
            .len
            .checked_sub(distance)
            .ok_or("the block refers to what is before it")?;
        for (at, to) in (from..).zip(range.clone()) {
            self.bytes[to] = self.bytes[at];
        }
        self.len = range.end;
        Ok(())
    }

    fn reserve(&self, len: usize) -> Result<std::ops::Range<usize>, &'static str> {
        let end = self.len + len;
        if end > self.bytes.len() {
            return Err("the block is too large");
        }
        Ok(self.len..end)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn instructions_of_every_kind() {
        let long = [&[0, 0, 5][..], &[b'x'; 15 + 255 + 5 + 3], &[17, 0, 0]].concat();
        for (block, expected) in [
            (&[17 + 3, b'a', b'b', b'c', 17, 0, 0][..], &b"abc"[..]),
            // Five literals, then a copy of four bytes from a distance of three.
            (
                &[
                    22,
                    b'a',
                    b'b',
                    b'c',
                    b'd',
                    b'e',
                    64 + 32 + (2 << 2),
                    0,
                    17,
                    0,
                    0,
                ],
                b"abcdecdec",
            ),
            // A copy, followed by one literal.
            (
                &[21, b'a', b'b', b'c', b'd', 64 + 1, 0, b'z', 17, 0, 0],
                b"abcddddz",
            ),
            // A copy of two bytes from a distance of one, after one literal.
            (
                &[21, b'a', b'b', b'c', b'd', 64 + 1, 0, b'z', 0, 0, 17, 0, 0],
                b"abcddddzzz",
            ),
            // A long copy.
            (
                &[21, b'a', b'b', b'c', b'd', 32, 9, 3 << 2, 0, 17, 0, 0],
                &b"abcd".repeat(12)[..46],
            ),
            (&long, &[b'x'; 278]),
        ] {
            let mut output = [0; 300];
            let len = decode(block, &mut output).unwrap();
            assert_eq!(&output[..len], expected, "{block:?}");
        }
    }

    #[test]
    fn nothing_outside_is_read_or_written() {
        for (block, problem) in [
            (&[][..], "cut short"),
            (&[17, 0], "cut short"),
            (&[18], "cut short"),
            (&[0, 0, 0], "cut short"),
            (&[21, 1, 2, 3, 4, 64, 1, 17, 0, 0], "before it"),
            (&[21, 1, 2, 3, 4, 32, 200, 0, 0, 17, 0, 0], "too large"),
            (&[21, 1, 2, 3, 4, 17, 0, 0, 9], "behind the block's end"),
        ] {
            let error = decode(block, &mut [0; 64]).unwrap_err();
            assert!(error.contains(problem), "{block:?}: {error}");
        }
    }
}
