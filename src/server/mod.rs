//! Listeners, the services behind them, the admin port, and an orderly end.

mod admin;
mod edge;
mod inbox;
mod listen;
mod peers;
mod runbook;
mod settings;
mod site;
mod targets;

pub use admin::{Admin, AdminParts};
pub use edge::{Edge, Entry};
pub use inbox::{Alert, Inbox, Overview};
pub use listen::{Bound, Running, bind, bind_one, interrupted, reachable};
pub use peers::{Answer, Command, Instance, Peers, instances};
pub use settings::{AdminSettings, Blueprint, Secret, ServiceSettings};
pub use site::{Site, Wiring};
pub use targets::targets;
