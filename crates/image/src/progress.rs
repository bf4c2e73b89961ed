//! Responsible for the interface through which packing reports its progress.

/// Receiver of the packer's progress. Its method is called from several threads.
pub trait Progress: Send + Sync {
    /// Reports the number of bytes of files that are packed since the last call.
    fn packed(&self, bytes: u64);
}
