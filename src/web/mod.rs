//! What every service's HTTP side is made of: the edge before its handlers, the context of a request,
//! parameters, bodies, and errors as `application/problem+json`.

pub mod context;
pub mod edge;
pub mod params;
pub mod problem;
pub mod secret;
pub mod trust;

pub use context::Context;
