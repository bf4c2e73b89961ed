//! Responsible for refusals by the front of the house, and for the way out that errors know.

/// The first way out that any error of the chain knows.
pub(crate) fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<condense_prefix::Error>() {
            return error.hint();
        }
        if let Some(error) = cause.downcast_ref::<condense_image::Error>() {
            return error.hint();
        }
        if let Some(error) = cause.downcast_ref::<condense_base::Error>() {
            return error.hint();
        }
        if let Some(error) = cause.downcast_ref::<condense_installation::Error>() {
            return error.hint();
        }
        if let Some(error) = cause.downcast_ref::<condense_check::Error>() {
            return error.hint();
        }
        if let Some(error) = cause.downcast_ref::<condense_threads::Error>() {
            return Some(error.hint());
        }
        if let Some(hint) = hint_of_limit(&cause.to_string()) {
            return Some(hint.to_owned());
        }
        cause
            .downcast_ref::<Refusal>()
            .and_then(|refusal| refusal.hint.clone())
    })
}

/// A refusal by the front of the house, with the way out.
#[derive(Debug)]
pub(crate) struct Refusal {
    message: String,
    hint: Option<String>,
}

impl Refusal {
    /// `message` says what cannot be done and why, `hint` what to do.
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// The way out of a limit of the shell's or the batch system's, from what was said of it.
fn hint_of_limit(said: &str) -> Option<&'static str> {
    use rustix::io::Errno;
    // Libraries wrap the system's errors, but they keep its words.
    let (_, rest) = said.rsplit_once("(os error ")?;
    let (number, _) = rest.split_once(')')?;
    match Errno::from_raw_os_error(number.parse().ok()?) {
        Errno::FBIG => Some("raise the limit on the size of files: `ulimit -f unlimited`"),
        Errno::MFILE => Some("raise the limit on open files: `ulimit -n 4096`"),
        Errno::NOMEM => Some("raise the limit on memory: `ulimit -v unlimited`, or ask for more"),
        _ => None,
    }
}

/// The way out where standard output did not take a result.
pub(super) fn hint_of_stream(error: &std::io::Error) -> &'static str {
    hint_of_limit(&error.to_string()).unwrap_or(match error.kind() {
        std::io::ErrorKind::StorageFull => "free some space, or send it to another file",
        _ if error.raw_os_error() == Some(rustix::io::Errno::BADF.raw_os_error()) => {
            "standard output is closed: send it to a file, or to /dev/null"
        }
        _ => "send it to another file",
    })
}
