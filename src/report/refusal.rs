//! Responsible for the way out that an error knows, and for refusals of the front of the house.

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
