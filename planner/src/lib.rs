//! From lineage to a plan of stages, and the text that explains it.
//!
//! Everything here is a pure function: the same lineage and the same facts give the same plan and the same text. It
//! knows the shapes of operators, not their names.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod explain;
mod plan;

pub use explain::{dot, text};
pub use plan::{Facts, Plan, PlannedStage, Step, Tasks, plan};
