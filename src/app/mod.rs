//! One process: its services wired to each other, their listeners, and its graceful shutdown.

mod listen;
mod site;
mod targets;

pub use listen::{Bound, Running, bind, bind_one, interrupted, reachable};
pub use site::{Site, Wiring};
pub use targets::targets;
