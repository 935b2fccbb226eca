//! Tests that formats and places of several kinds fit the traits of sinks: a footer with positions, several files of a
//! partition, one file that all tasks write to, and a store that is committed to in pieces.

mod footer;
mod multipart;
mod one_array;
mod several;

use tryworks::prelude::*;

/// A context that tries each task twice.
fn trying_twice() -> Context {
    Context::builder().threads(2).max_attempts(2).progress(false).build().unwrap()
}
