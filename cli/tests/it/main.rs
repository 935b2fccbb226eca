//! The executable as people use it: what it prints, how it ends, and what it leaves behind.

mod clean;
mod cluster;
mod home;
mod naming;
mod terminal;
mod trouble;
mod usage;
