//! A key that is not `Hash`: refused in Tryworks's words.

use tryworks::prelude::*;

fn main() -> Result<()> {
    let cx = Context::local(1)?;
    let sums = cx.range(0..3).map(|n| (n as f64, n)).reduce_by_key(|a, b| a + b);
    sums.count()?;
    Ok(())
}
