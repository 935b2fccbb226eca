//! A closure that captures, after `with`: refused in Tryworks's words.

use tryworks::prelude::*;

fn main() -> Result<()> {
    let cx = Context::local(1)?;
    let (given, captured) = (3, vec![1u64]);
    cx.range(0..3).with(given).map(move |given, n| n * given + captured[0]).count()?;
    Ok(())
}
