//! Several machines on one: network namespaces with addresses of their own, joined by a bridge. Their processes do not
//! see each other's directories.
//!
//! Each test starts its own executable again as a driver; workers run that executable, too.

mod addresses;
mod cut;
mod drain;
mod driver;
mod given;
mod host;
mod large;
mod shuffle;
