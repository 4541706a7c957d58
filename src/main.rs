//! The `breakerbox` program.
fn main() {}
