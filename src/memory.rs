//! Responsible for a clear word where the system gives no more memory: the standard library's own,
//! "memory allocation of 9 bytes failed", names neither cause nor way out before it ends the
//! program.
#![allow(unsafe_code, reason = "an allocator is unsafe by its nature")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, Ordering},
};

const WORD: &[u8] = b"error: the system gives no more memory\n  \
    hint: raise the limit on memory (`ulimit -v`), or that of the job\n";

#[global_allocator]
static MEMORY: Memory = Memory {
    is_told: AtomicBool::new(false),
};

/// The system's allocator, which tells once when it has nothing left.
struct Memory {
    is_told: AtomicBool,
}

impl Memory {
    fn told(&self, block: *mut u8) -> *mut u8 {
        if block.is_null() {
            self.tell();
        }
        block
    }

    fn tell(&self) {
        if !self.is_told.swap(true, Ordering::Relaxed) {
            // Nobody is there to be told of a failure; and nothing here may need memory.
            let _ = rustix::io::write(rustix::stdio::stderr(), WORD);
        }
    }
}

/// Whether that has been told.
pub(crate) fn is_told() -> bool {
    MEMORY.is_told.load(Ordering::Relaxed)
}

/// From now on the same is told where a library of another language has got no memory, which ends
/// in a panic; and what panics after it is not told.
pub(crate) fn tell_of_libraries() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let payload = panic.payload();
        let said = payload.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| payload.downcast_ref::<&str>().copied());
        let said = said.unwrap_or_default();
        // libdeflate's, and zstd's.
        if said.contains("out of memory") || said.contains("null pointer when creating") {
            MEMORY.tell();
        } else if !is_told() {
            usual(panic);
        }
    }));
}

// SAFETY: every call is the system allocator's own with what the caller has promised to this one;
// besides that a flag is set and bytes are written to a descriptor.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.told(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.told(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.told(unsafe { System.realloc(block, layout, size) })
    }
}
