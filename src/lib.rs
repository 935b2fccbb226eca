//! Tryworks is a dataflow and map-reduce engine: lazy, typed datasets, which it plans into stages and runs on every
//! core or on a cluster.
//!
//! ```
//! use tryworks::prelude::*;
//!
//! fn main() -> Result<()> {
//!     let cx = Context::init()?;
//!     let counts = cx
//!         .text_file("examples/data/mobydick.txt")
//!         .flat_map_into(|line, out| line.split_whitespace().for_each(|w| out.push(Str::lower(w))))
//!         .map(|word| (word, 1u64))
//!         .reduce_by_key(|a, b| a + b);
//!     let top = counts.take_ordered_by(1, |(_, n)| std::cmp::Reverse(*n))?;
//!     assert_eq!(top[0].0, "the");
//!     Ok(())
//! }
//! ```
//!
//! A [`Dataset`] describes work; only *actions* (`collect`, `count`, `save_as_text_file`, ..) run it. Functions given
//! to operators capture nothing. If a function needs a value, pass it by [`with`](Dataset::with).

#![deny(clippy::print_stdout, clippy::print_stderr)]

#[cfg(feature = "cluster")]
mod cluster;
mod context;
pub mod prelude;
mod progress;
mod settings;
#[cfg(all(test, not(feature = "zstd")))]
mod without_zstd;

pub use context::{Builder, Context};
pub use tryworks_base::ids::{CacheId, ExchangeId};
pub use tryworks_base::{Error, Op, Progress, Result, Shipment, Site, TaskSite, UserError, UserFault, frames, memory};
pub use tryworks_core::ship::NoCaptures;
pub use tryworks_core::{
    Background, Dataset, Emitter, Float, Histogram, Items, Job, LocalIterator, Number, Record, Stats, StorageLevel,
    Str, Summand, ToDriver, Total, data, pipe, row, runner, sink, source, task, with,
};
pub use tryworks_io::{Input, files, places, records, rows, text};
pub use tryworks_runtime::event_log;

/// The programs in these pages are run by the tests.
#[cfg(doctest)]
mod prose {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/guide.md")]
    struct Guide;
}
