//! A closure of `from_fn` that captures: refused in Tryworks's words.

use tryworks::prelude::*;

fn main() -> Result<()> {
    let cx = Context::local(1)?;
    let rows = 3u32;
    cx.from_fn(4, move |part| 0..part * rows).count()?;
    Ok(())
}
