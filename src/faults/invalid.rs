//! Why a plan is refused.

/// A plan that can't be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct InvalidPlan {
    field: &'static str,
    why: String,
}

impl InvalidPlan {
    pub(super) fn new(field: &'static str, why: impl Into<String>) -> Self {
        Self { field, why: why.into() }
    }

    /// The field that is wrong.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// What it may be.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }
}
