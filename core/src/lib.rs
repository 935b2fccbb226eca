//! placeholder

pub mod ids;
