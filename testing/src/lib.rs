//! What the tests share: cases that run on every deployment, numbers that look random, small disks, gates and waiting.
//!
//! Tests of this repository alone depend on it, and no program of a user's.

pub mod cases;
mod disk;
mod gate;
mod numbers;
mod wait;

pub use disk::SmallDisk;
pub use gate::Gate;
pub use numbers::{Random, fraction, mix, slice};
pub use wait::{DEADLINE, until, wait_until};
