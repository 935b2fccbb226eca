//! Several machines on one: network namespaces with addresses of their own, joined by a bridge, whose processes see no
//! directory of the others'.
//!
//! Each test starts its own executable again as a driver; workers are that executable too.

mod addresses;
mod cut;
mod drain;
mod driver;
mod given;
mod host;
mod large;
mod shuffle;
