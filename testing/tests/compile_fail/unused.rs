//! Results that are not used.

#![deny(unused_must_use)]

use tryworks::prelude::*;

fn main() -> Result<()> {
    let cx = Context::local(1)?;
    let numbers = cx.range(0..3);
    numbers.map(|n| n + 1);
    numbers.cache();
    numbers.with(3);
    numbers.background().count()?;
    numbers.count();
    Context::builder().threads(2);
    Ok(())
}
