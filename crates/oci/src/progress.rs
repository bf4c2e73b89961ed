//! Responsible for reporting the progress of a pull.

/// A phase of a pull. Both phases are counted in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Blobs are downloaded and decompressed.
    Fetch,
    /// The SIF is written.
    Pack,
}

/// Callbacks for the progress of a pull. They are called from several threads.
pub trait Progress: Send + Sync {
    /// A phase of `bytes` bytes begins.
    fn begin(&self, phase: Phase, bytes: u64);
    /// Further `bytes` bytes of the phase are done.
    fn advance(&self, phase: Phase, bytes: u64);
    /// The phase is done.
    fn end(&self, phase: Phase);
    /// Something in the SIF differs from the image.
    fn warn(&self, text: String);
}
