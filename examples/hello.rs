//! The smallest program: a dataset, two operators and an action.
//!
//!     cargo run --release --example hello

use tryworks::prelude::*;

fn main() -> Result<()> {
    let cx = Context::init()?;
    let squares = cx.range(1..1001).map(|n| n * n).filter(|n| n % 2 == 0);
    println!("The even squares up to 1000 x 1000 add up to {}.", squares.sum()?);
    assert_eq!(squares.sum()?, 167_167_000);
    Ok(())
}
