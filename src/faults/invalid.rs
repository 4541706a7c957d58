//! Validation errors of fault plans.

/// An invalid plan.
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

    /// The invalid field.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// Its allowed values.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }
}
