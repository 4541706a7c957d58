//! The HTTP side of every service: the edge around its handlers, the context of a request, parameters, bodies, and
//! errors as `application/problem+json`.

pub mod context;
pub mod edge;
pub mod params;
pub mod problem;
pub mod secret;
pub mod trust;

pub use context::Context;
