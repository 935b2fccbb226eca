//! The hub of a cluster: its certificate authority, and its gateway for other machines.

#![forbid(unsafe_code)]

mod authority;
mod gateway;

pub use authority::{Authority, AuthorityError, Validity};
pub use gateway::{Sockets, open_gateway};
