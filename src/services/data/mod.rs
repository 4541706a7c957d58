//! The site's data: films and viewing histories.

pub mod films;
mod genre;
mod histories;

pub use genre::Genre;
pub use histories::{Histories, VIEWERS};
