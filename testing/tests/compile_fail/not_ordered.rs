//! An item without an order: refused in Tryworks's words.

use tryworks::prelude::*;

fn main() -> Result<()> {
    let cx = Context::local(1)?;
    let _ = cx.range(0..3).map(|n| (n as f64, n)).sort_by_key();
    let _ = cx.range(0..3).sort_by(|n| *n as f64);
    Ok(())
}
