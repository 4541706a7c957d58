//! The web pages of the program: the storefront on the public ports, the console on the admin port.
//!
//! Both are built from `web/` (Vite, Preact, TypeScript) and the result is committed under `dist`, so
//! that `cargo build` needs no Node; `scripts/pages.sh --check` rebuilds and compares. A page is made
//! of the same JSON that any client can read, loads nothing from elsewhere and may not run anything
//! but its own script.

mod assets;
mod console;
mod feed;
mod live;
mod storefront;
mod twin;

#[cfg(test)]
mod tests;

pub use console::console;
pub use feed::Feed;
pub use storefront::{Side, Storefront};
