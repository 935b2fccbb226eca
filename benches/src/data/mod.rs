//! Seeded data: the same rows, lines and files on every machine and in every run.

pub mod mix;
#[allow(dead_code, reason = "some of it only our side uses")]
pub mod out_of_core;
#[allow(dead_code, reason = "some of it only our side uses")]
pub mod permutation;
pub mod records;
pub mod rows;
pub mod text;
