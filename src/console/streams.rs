//! Responsible for writing to standard output and standard error. A failed write does not end the
//! run. It is remembered and reported at the end of the run.

use std::{
    io::{self, ErrorKind, IsTerminal, Write},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use indicatif::TermLike;

/// Standard output and standard error of a run, and the errors of writing to standard output.
#[derive(Debug)]
pub(super) struct Streams {
    /// Whether standard output was a terminal at the start of the run. This cannot be determined
    /// after the terminal was closed.
    has_terminal: bool,
    /// First error of standard output. A closed pipe or terminal does not count.
    failure: OnceLock<io::Error>,
    is_lost: AtomicBool,
    has_lost_bytes: AtomicBool,
}

impl Streams {
    /// Returns the streams of this process.
    pub(super) fn of_process() -> Self {
        Self {
            has_terminal: io::stdout().is_terminal(),
            failure: OnceLock::new(),
            is_lost: AtomicBool::new(false),
            has_lost_bytes: AtomicBool::new(false),
        }
    }

    /// Writes to standard output.
    pub(super) fn out(&self, text: &str) {
        let mut out = Out {
            streams: self,
            of_bytes: false,
        };
        // The error is reported at the end of the run.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Writes to standard error. An error is ignored, because there is no other stream to report it
    /// on.
    #[allow(clippy::unused_self, reason = "the two streams are written in one way")]
    pub(super) fn err(&self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// Returns a writer of bytes to standard output. It returns each error, and remembers it for
    /// the end of the run as well.
    pub(super) fn bytes(&self) -> impl Write {
        Out {
            streams: self,
            of_bytes: true,
        }
    }

    /// Returns whether a write to standard output has failed, even if only because the pipe or
    /// terminal was closed.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Returns the first error of standard output, or `None` if there was none except a closed pipe
    /// or terminal.
    pub(super) fn failure(&self) -> Option<&io::Error> {
        self.failure.get()
    }

    /// Returns whether a write of [`Streams::bytes`] has failed.
    pub(super) fn has_lost_bytes(&self) -> bool {
        self.has_lost_bytes.load(Ordering::Relaxed)
    }

    /// Returns whether `error` is the error of standard output.
    pub(super) fn is_stdout_error(&self, error: &io::Error) -> bool {
        match self.failure() {
            Some(failure) => failure.raw_os_error() == error.raw_os_error(),
            None => self.is_lost() && error.kind() == ErrorKind::BrokenPipe,
        }
    }

    fn remember(&self, error: &io::Error) {
        self.is_lost.store(true, Ordering::Relaxed);
        let has_hung_up =
            self.has_terminal && error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
        if error.kind() != ErrorKind::BrokenPipe && !has_hung_up {
            let copy = match error.raw_os_error() {
                Some(number) => io::Error::from_raw_os_error(number),
                None => error.kind().into(),
            };
            // Only the first error is kept, because it causes the later ones.
            let _ = self.failure.set(copy);
        }
    }
}

/// Writer to standard output, which remembers errors in [`Streams`].
struct Out<'s> {
    streams: &'s Streams,
    of_bytes: bool,
}

impl Out<'_> {
    fn keep<T>(&self, written: io::Result<T>) -> io::Result<T> {
        written.inspect_err(|error| {
            if error.kind() != ErrorKind::Interrupted {
                self.streams.remember(error);
                if self.of_bytes {
                    self.streams.has_lost_bytes.store(true, Ordering::Relaxed);
                }
            }
        })
    }
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if at_start::stdout_was_closed() {
            return self.keep(Err(rustix::io::Errno::BADF.into()));
        }
        self.keep(io::stdout().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.keep(io::stdout().lock().flush())
    }
}

/// Terminal on which bars are drawn. Drawing never returns an error, because indicatif does not
/// handle an error when it makes room for a line. After a failed write nothing more is drawn.
#[derive(Debug, Default)]
pub(super) struct Screen {
    drawn: Mutex<String>,
    is_gone: AtomicBool,
}

impl Screen {
    /// Returns the number of columns of the terminal.
    pub(super) fn columns() -> u16 {
        console::Term::stderr().size().1
    }

    fn add(&self, text: &str) {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        drawn.push_str(text);
    }

    /// Moves the cursor. A move by 0 writes nothing, because the ANSI sequence treats 0 as 1.
    fn go(&self, by: usize, direction: char) {
        if by > 0 {
            self.add(&format!("\x1b[{by}{direction}"));
        }
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        Self::columns()
    }

    fn height(&self) -> u16 {
        console::Term::stderr().size().0
    }

    fn move_cursor_up(&self, by: usize) -> io::Result<()> {
        self.go(by, 'A');
        Ok(())
    }

    fn move_cursor_down(&self, by: usize) -> io::Result<()> {
        self.go(by, 'B');
        Ok(())
    }

    fn move_cursor_right(&self, by: usize) -> io::Result<()> {
        self.go(by, 'C');
        Ok(())
    }

    fn move_cursor_left(&self, by: usize) -> io::Result<()> {
        self.go(by, 'D');
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.add(text);
        self.add("\n");
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.add(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add("\r\x1b[2K");
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let drawn = {
            let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *drawn)
        };
        if !self.is_gone.load(Ordering::Relaxed)
            && io::stderr().lock().write_all(drawn.as_bytes()).is_err()
        {
            self.is_gone.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// State of standard output at the start of the process. It is read before the standard library
/// opens /dev/null in place of closed streams.
#[allow(unsafe_code, reason = "nothing of Rust's runs earlier in a safe way")]
mod at_start {
    use std::sync::atomic::{AtomicBool, Ordering};

    static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

    // SAFETY: the loader calls each function in this section once, before `main`. This function
    // queries the state of a file descriptor from the kernel and stores a flag, which needs no
    // initialisation by the standard library. It takes no arguments and ignores those that the
    // loader passes.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static LOOK: extern "C" fn() = look;

    extern "C" fn look() {
        let asked = rustix::io::fcntl_getfd(rustix::stdio::stdout());
        let is_closed = asked.is_err_and(|error| error == rustix::io::Errno::BADF);
        STDOUT_WAS_CLOSED.store(is_closed, Ordering::Relaxed);
    }

    pub(super) fn stdout_was_closed() -> bool {
        STDOUT_WAS_CLOSED.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_had_enough_is_no_failure_and_a_full_disk_is_one() {
        let mut streams = Streams::of_process();
        streams.has_terminal = true;
        streams.remember(&ErrorKind::BrokenPipe.into());
        // Writes to a closed terminal fail with this error.
        streams.remember(&rustix::io::Errno::IO.into());
        assert!(streams.is_lost() && streams.failure().is_none());
        streams.has_terminal = false;
        streams.remember(&rustix::io::Errno::NOSPC.into());
        streams.remember(&rustix::io::Errno::IO.into());
        assert_eq!(
            streams.failure().and_then(io::Error::raw_os_error),
            Some(rustix::io::Errno::NOSPC.raw_os_error())
        );
    }
}
