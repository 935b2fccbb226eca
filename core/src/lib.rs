//! Datasets: pipes, operators, actions, lineage, and how code travels.
//!
//! This crate opens no file, socket, thread or clock. A task asks a [`host::Host`] for what it needs of its process. An
//! action asks a [`runner::Runner`] to run its plan.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod actions;
mod buffer;
mod call;
pub mod data;
pub mod dataset;
mod exchange;
mod extremes;
mod gather;
mod heap;
mod held;
pub mod host;
mod join;
pub mod lineage;
pub mod links;
mod ops;
pub mod pipe;
mod record;
pub mod row;
pub mod runner;
pub mod ship;
pub mod sink;
mod sketch;
mod sort;
pub mod source;
pub mod stage;
mod stats;
mod str;
mod summand;
pub mod surroundings;
pub mod task;
mod total;
mod trampoline;
pub mod with;
mod words;

pub use actions::{Background, Histogram, Job, LocalIterator, ToDriver};
pub use dataset::Dataset;
pub use ops::{BEGIN_WITH, Emitter, Items, StorageLevel, from_fn};
pub use record::Record;
pub use stats::{Number, Stats};
pub use str::Str;
pub use summand::Summand;
pub use total::{Float, Total, total};
pub use words::Words;
