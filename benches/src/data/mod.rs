//! Seeded data: the same rows, lines and files on every machine and in every run.

pub mod mix;
pub mod records;
pub mod rows;
pub mod text;
