//! Responsible for a clear message when the system gives no more memory. The standard library's own
//! message, "memory allocation of 9 bytes failed", names neither cause nor way out before the
//! program ends.
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

/// The system's allocator, which prints a message the first time that it gets no memory.
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
            // A failure to write the message cannot be reported. Nothing here may allocate memory.
            let _ = rustix::io::write(rustix::stdio::stderr(), WORD);
        }
    }
}

/// Returns whether the message about memory has been printed.
pub(crate) fn is_told() -> bool {
    MEMORY.is_told.load(Ordering::Relaxed)
}

/// Installs a panic hook that prints the same message if a C library got no memory, which its
/// bindings turn into a panic. After that message the hook prints no other panic.
pub(crate) fn tell_of_libraries() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let payload = panic.payload();
        let said = payload.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| payload.downcast_ref::<&str>().copied());
        let said = said.unwrap_or_default();
        // The first text is in the panics of libdeflate's bindings, the second in those of zstd's.
        if said.contains("out of memory") || said.contains("null pointer when creating") {
            MEMORY.tell();
        } else if !is_told() {
            usual(panic);
        }
    }));
}

// SAFETY: every method passes its arguments on to the system's allocator, so that the caller's
// promises hold there as well. Besides that, it only sets a flag and writes bytes to a descriptor.
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
