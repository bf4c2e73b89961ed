//! Responsible for the hot zone of an image: the part with the files that a start reads first. Its
//! place is recorded in front of the contents, so that it is known from the finished image alone.
//!
//! The record has 32 bytes behind the superblock and the options block: the magic `hotzone1`, the
//! start of the zone in the image and its length in bytes (64 bits each, little-endian), and the
//! XXH3 hash of these 24 bytes. No table refers to it, so readers of SquashFS do not see it.

use xxhash_rust::xxh3::xxh3_64;

/// Length of the record in bytes.
pub(crate) const RECORD_BYTES: usize = 32;
const MAGIC: [u8; 8] = *b"hotzone1";
/// Length of the part of the record that is hashed, in bytes.
const HASHED_BYTES: usize = 24;

/// Part of an image that holds the files which are read first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HotZone {
    /// Start of the zone, in bytes from the start of the image.
    pub start: u64,
    /// Length of the zone in bytes.
    pub bytes: u64,
}

impl HotZone {
    /// Returns the position behind the zone.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes)
    }

    /// Returns whether a run of bytes lies in the zone.
    pub(crate) fn contains(&self, from: u64, end: u64) -> bool {
        self.start <= from && end <= self.end()
    }

    pub(crate) fn record(&self) -> [u8; RECORD_BYTES] {
        let mut record = [0; RECORD_BYTES];
        record[..8].copy_from_slice(&MAGIC);
        record[8..16].copy_from_slice(&self.start.to_le_bytes());
        record[16..HASHED_BYTES].copy_from_slice(&self.bytes.to_le_bytes());
        let hash = xxh3_64(&record[..HASHED_BYTES]);
        record[HASHED_BYTES..].copy_from_slice(&hash.to_le_bytes());
        record
    }

    /// Returns the zone of a record, or `None` for other bytes and for an empty zone.
    pub(crate) fn parse(record: &[u8; RECORD_BYTES]) -> Option<HotZone> {
        let (numbers, _) = record.as_chunks::<8>();
        let number = |at: usize| u64::from_le_bytes(numbers[at]);
        let is_record = numbers[0] == MAGIC && number(3) == xxh3_64(&record[..HASHED_BYTES]);
        let zone = HotZone {
            start: number(1),
            bytes: number(2),
        };
        (is_record && zone.bytes > 0).then_some(zone)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_whole_records_are_zones() {
        let zone = HotZone {
            start: 128,
            bytes: 33 << 20,
        };
        let record = zone.record();
        assert_eq!(HotZone::parse(&record), Some(zone));
        for at in 0..RECORD_BYTES {
            let mut damaged = record;
            damaged[at] ^= 1;
            assert_eq!(HotZone::parse(&damaged), None, "byte {at}");
        }
        let empty = HotZone {
            start: 128,
            bytes: 0,
        };
        assert_eq!(HotZone::parse(&empty.record()), None);
    }
}
