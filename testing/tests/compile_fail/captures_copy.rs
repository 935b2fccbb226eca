//! A closure that captures a `Copy` value: refused in Tryworks's words.

use tryworks::prelude::*;

fn main() -> Result<()> {
    let cx = Context::local(1)?;
    let factor = std::env::args().count() as u64;
    cx.range(0..3).map(move |n| n * factor).count()?;
    Ok(())
}
