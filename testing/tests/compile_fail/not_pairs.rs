//! Items that are no pairs: refused in Tryworks's words.

use tryworks::prelude::*;

fn main() -> Result<()> {
    let cx = Context::local(1)?;
    cx.range(0..3).reduce_by_key(|a, b| a + b).count()?;
    Ok(())
}
