//! Responsible for refusals by the program itself, not by its libraries, and for the hints of all
//! errors.

/// Returns the first hint that an error of the chain has.
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

/// A refusal by the program itself, with a hint.
#[derive(Debug)]
pub(crate) struct Refusal {
    message: String,
    hint: Option<String>,
}

impl Refusal {
    /// Makes a refusal. `message` says what cannot be done and why, `hint` says what to do.
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

/// Returns the hint for a limit of the shell or the batch system, from the text of an error.
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

/// Returns the hint for a result that standard output did not take.
pub(super) fn hint_of_stream(error: &std::io::Error) -> &'static str {
    hint_of_limit(&error.to_string()).unwrap_or(match error.kind() {
        std::io::ErrorKind::StorageFull => "free some space, or send it to another file",
        _ if error.raw_os_error() == Some(rustix::io::Errno::BADF.raw_os_error()) => {
            "standard output is closed: send it to a file, or to /dev/null"
        }
        _ => "send it to another file",
    })
}
