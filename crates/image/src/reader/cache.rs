//! Responsible for caching decompressed blocks within a bound of memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Cache of blocks by their position in the image. When the young generation would exceed the
/// budget, it becomes the old generation, and the previous old generation is dropped. Blocks that
/// are used again stay. This costs no more than two hash maps, and memory is at most twice the
/// budget and one block.
#[derive(Debug)]
pub(super) struct Cache<V> {
    budget_bytes: usize,
    generations: Mutex<Generations<V>>,
}

#[derive(Debug)]
struct Generations<V> {
    young: HashMap<u64, (Arc<V>, usize)>,
    young_bytes: usize,
    old: HashMap<u64, (Arc<V>, usize)>,
}

impl<V> Cache<V> {
    pub(super) fn new(budget_bytes: usize) -> Cache<V> {
        Cache {
            budget_bytes,
            generations: Mutex::new(Generations {
                young: HashMap::new(),
                young_bytes: 0,
                old: HashMap::new(),
            }),
        }
    }

    /// Returns the block at this position, or calls `load`, which returns the block and its size in
    /// bytes. The cache is not locked during `load`. Two threads may therefore load the same block,
    /// which costs less than making all other threads wait.
    pub(super) fn get<E>(
        &self,
        at: u64,
        load: impl FnOnce() -> Result<(V, usize), E>,
    ) -> Result<Arc<V>, E> {
        if let Some(block) = self.find(at) {
            return Ok(block);
        }
        let (block, bytes) = load()?;
        let block = Arc::new(block);
        self.lock()
            .insert(at, block.clone(), bytes, self.budget_bytes);
        Ok(block)
    }

    fn find(&self, at: u64) -> Option<Arc<V>> {
        let mut generations = self.lock();
        if let Some((block, _)) = generations.young.get(&at) {
            return Some(block.clone());
        }
        let (block, bytes) = generations.old.remove(&at)?;
        generations.insert(at, block.clone(), bytes, self.budget_bytes);
        Some(block)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations<V>> {
        // No code panics while the lock is held, and even after a panic each entry would be
        // complete.
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Generations<V> {
    fn insert(&mut self, at: u64, block: Arc<V>, bytes: usize, budget_bytes: usize) {
        if self.young_bytes + bytes > budget_bytes {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if self.young.insert(at, (block, bytes)).is_none() {
            self.young_bytes += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let cache = Cache::new(100);
        let mut loads = 0;
        let mut get = |at: u64| {
            let block = cache.get(at, || {
                loads += 1;
                Ok::<_, ()>((at, 10))
            });
            assert_eq!(*block.unwrap(), at);
            let generations = cache.lock();
            assert!(generations.young.len() + generations.old.len() <= 20);
            loads
        };
        for at in 0..1000 {
            get(at);
            get(7_000_000);
        }
        assert_eq!(get(999), 1001, "every block was loaded once");
        assert_eq!(get(0), 1002, "the first one is long gone");
    }
}
