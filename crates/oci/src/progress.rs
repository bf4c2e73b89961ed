//! Responsible for what is told while an image is brought here.

/// A part of the work; both are counted in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Blobs arrive and are unpacked.
    Fetch,
    /// The image is written.
    Pack,
}

/// Listens to the work. Called from several threads.
pub trait Progress: Send + Sync {
    /// A stage begins, of so many bytes.
    fn begin(&self, stage: Stage, bytes: u64);
    /// So many more bytes are done.
    fn advance(&self, stage: Stage, bytes: u64);
    /// A stage is done.
    fn end(&self, stage: Stage);
    /// Something is not in the result as it was in the image.
    fn warn(&self, text: String);
}
