//! A closure that captures copy in an action: refused in our words.

use tryworks::prelude::*;

fn main() -> Result<()> {
    let cx = Context::local(1)?;
    let modulus = std::env::args().count() as u64;
    cx.range(0..3).reduce(move |a, b| (a + b) % modulus)?;
    Ok(())
}
