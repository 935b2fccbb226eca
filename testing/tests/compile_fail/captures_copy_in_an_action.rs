//! A closure of an action that captures a `Copy` value: refused in Tryworks's words.

use tryworks::prelude::*;

fn main() -> Result<()> {
    let cx = Context::local(1)?;
    let modulus = std::env::args().count() as u64;
    cx.range(0..3).reduce(move |a, b| (a + b) % modulus)?;
    Ok(())
}
