//! Trials of what formats and places have to be able to do, so that real ones fit the traits of sinks: a footer that says
//! where things are, several files of a partition, one file that all tasks write to, and a store that is committed to in
//! pieces.

mod footer;
mod multipart;
mod one_array;
mod several;

use tryworks::prelude::*;

/// A context in which a task is tried twice.
fn trying_twice() -> Context {
    Context::builder().threads(2).max_attempts(2).progress(false).build().unwrap()
}
