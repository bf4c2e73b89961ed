//! Responsible for a clear message when an allocation of memory fails. The message of the standard
//! library, "memory allocation of 9 bytes failed", names neither the cause nor a remedy.
#![allow(unsafe_code, reason = "an allocator is unsafe by its nature")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, Ordering},
};

const WORD: &[u8] = b"error: the system gives no more memory\n  \
    hint: raise the limit on memory (`ulimit -v`), or that of the job\n";

const NO_THREAD: &[u8] = b"error: the system starts no more threads\n  \
    hint: raise the limits on processes (`ulimit -u`) and on memory (`ulimit -v`), \
    or those of the job\n";

#[global_allocator]
static MEMORY: Memory = Memory {
    is_told: AtomicBool::new(false),
};

/// System allocator, which prints a message when an allocation fails for the first time.
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
        self.tell_once(WORD);
    }

    fn tell_once(&self, message: &[u8]) {
        if !self.is_told.swap(true, Ordering::Relaxed) {
            // An error of this write cannot be reported. This code must not allocate memory.
            let _ = rustix::io::write(rustix::stdio::stderr(), message);
        }
    }
}

/// Returns whether a message about memory or threads that the system refused has been printed.
pub(crate) fn is_told() -> bool {
    MEMORY.is_told.load(Ordering::Relaxed)
}

/// Installs a panic hook that prints the same message if an allocation in a C library failed, which
/// its Rust bindings turn into a panic, and a similar one if tokio could not start a thread. After
/// such a message the hook prints no other panic.
pub(crate) fn install_panic_hook() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let payload = panic.payload();
        let said = payload.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| payload.downcast_ref::<&str>().copied());
        let said = said.unwrap_or_default();
        // The first text is in the panics of libdeflate's bindings, the second in the panics of
        // zstd's bindings.
        if said.contains("out of memory") || said.contains("null pointer when creating") {
            MEMORY.tell();
        } else if said.contains("OS can't spawn worker thread") {
            MEMORY.tell_once(NO_THREAD);
        } else if !is_told() {
            usual(panic);
        }
    }));
}

// SAFETY: every method passes its arguments unchanged to the system allocator, so the caller's
// guarantees hold there as well. Besides that, it only sets a flag and writes bytes to a file
// descriptor.
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
