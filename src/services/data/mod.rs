//! What the site has to show: its films, and who watched what.

pub mod films;
mod genre;
mod histories;

pub use genre::Genre;
pub use histories::{Histories, VIEWERS};
