//! Bounded listeners: how many connections a port takes, how long each may keep it waiting, and what
//! every request and every answer must have.
//!
//! A connection costs a descriptor and memory before it has asked for anything, so a client that only
//! opens connections can take a server down. Three bounds prevent that:
//!
//! * **Number.** Each port takes a fixed number of connections, so that no port, and no client of one,
//!   uses what another needs. When a port is full, the connection that has waited longest of the
//!   client that holds most of them is displaced: one that has sent no request, or does not read its
//!   answer. Requests being served are never cut off; a port full of them refuses with 503.
//! * **Time.** A head, a body and an answer each have a time limit ([`ConnectionSettings`]).
//! * **Size.** A head has a size limit, and the kernel's buffers of each connection are small.
//!
//! The soft limit of descriptors is raised to the hard one at start ([`descriptors`]). Where even that
//! is too low for the numbers above, they shrink in proportion and a warning says what is needed.
//!
//! Time here is the machine's: these are sockets, which no paused clock moves.

mod activity;
mod answer;
pub mod descriptors;
mod roster;
mod serve;
mod settings;

pub use serve::{Port, serve};
pub use settings::{ConnectionSettings, Limits};
