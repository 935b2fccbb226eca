//! The ends of connections to a hub that people have: the command line's.

pub mod admin;
pub mod dial;
