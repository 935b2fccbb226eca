//! What the tests share: cases that run on every deployment, numbers that look random, small disks, gates and waiting.
//!
//! Only tests of this repository depend on it, never a user's program.

pub mod cases;
mod disk;
mod gate;
mod numbers;
mod seeds;
mod wait;

pub use disk::SmallDisk;
pub use gate::Gate;
pub use numbers::{Random, fraction, mix, slice};
pub use seeds::run_seeds;
pub use wait::{DEADLINE, until, wait_until};
