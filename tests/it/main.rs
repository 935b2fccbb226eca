//! What users see, compared with independent answers. It is one harness, since each test program links the whole stack.

mod aggregations;
mod attempts;
mod attributes;
mod boxed;
mod caching;
mod callers;
mod cases;
mod driver;
mod errors;
mod fallible;
mod forms;
mod jobs;
mod keyed;
mod operators;
mod plans;
mod records;
mod samples;
mod saving;
mod settings;
mod shipping;
mod sinks;
mod sorting;
mod sources;
mod support;
mod types;
mod with;
