//! Responsible for reporting the progress of a pull.

/// A stage of a pull. Both stages are counted in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Blobs are downloaded and decompressed.
    Fetch,
    /// The SIF is written.
    Pack,
}

/// Callbacks for the progress of a pull. They are called from several threads.
pub trait Progress: Send + Sync {
    /// A stage of `bytes` bytes begins.
    fn begin(&self, stage: Stage, bytes: u64);
    /// Further `bytes` bytes of the stage are done.
    fn advance(&self, stage: Stage, bytes: u64);
    /// The stage is done.
    fn end(&self, stage: Stage);
    /// Something in the SIF differs from the image.
    fn warn(&self, text: String);
}
