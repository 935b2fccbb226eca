//! Pi by Monte Carlo: the share of random points of a square that lie in the quarter circle.
//!
//!     cargo run --release --example pi
//!
//! Every partition has its own generator, which is seeded with the partition's number. So the answer is the same in
//! every run, on any number of threads.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::f64::consts::PI;
use tryworks::prelude::*;

const PARTITIONS: u32 = 64;
const POINTS_EACH: u64 = 250_000;

fn points(partition: u32) -> impl Iterator<Item = (f64, f64)> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(u64::from(partition));
    (0..POINTS_EACH).map(move |_| random.random())
}

fn main() -> Result<()> {
    let cx = Context::init()?;
    let inside = cx.from_fn(PARTITIONS, points).filter(|(x, y)| x * x + y * y < 1.0).count()?;

    let points = (u64::from(PARTITIONS) * POINTS_EACH) as f64;
    let share = inside as f64 / points;
    let (pi, error) = (4.0 * share, 4.0 * (share * (1.0 - share) / points).sqrt());
    println!("pi is about {pi:.6}, with a standard error of {error:.6}, from {points} points.");
    assert!((pi - PI).abs() < 4.0 * error, "pi is {PI}");
    Ok(())
}
