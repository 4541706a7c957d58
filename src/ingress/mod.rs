//! Bounded listeners: limits on the connections of a port, on the time that each may take, and on the size of requests,
//! and headers of every response.
//!
//! A connection uses a descriptor and memory before it sends a request, so a client that only opens connections can
//! take a server down. Three limits prevent that:
//!
//! * **Number.** Each port accepts a fixed number of connections, so that no port, and no client of one,
//!   uses the connections of another. On a full port the server selects the client with most connections, and
//!   displaces the one of them that has been waiting longest: one without a request, or whose response is not
//!   read. Requests being processed are never cut off; a port full of them refuses with 503.
//! * **Time.** A head, a body and an answer each have a time limit ([`ConnectionSettings`]).
//! * **Size.** A head has a size limit, and the kernel's buffers of each connection are small.
//!
//! The soft limit of descriptors is raised to the hard limit at start ([`descriptors`]). If even that is too low for
//! these numbers, they are reduced in proportion, and a warning names the number needed.
//!
//! This module uses real time, because a paused clock does not affect sockets.

mod activity;
mod answer;
pub mod descriptors;
mod roster;
mod serve;
mod settings;

pub use serve::{Port, serve};
pub use settings::{ConnectionSettings, Limits};
