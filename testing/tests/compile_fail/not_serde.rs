//! An item that serde does not know: refused in Tryworks's words.

use tryworks::prelude::*;

#[derive(Clone)]
struct Whale {
    length: u64,
}

fn main() -> Result<()> {
    let cx = Context::local(1)?;
    let whales = cx.range(0..3).map(|n| (n % 2, Whale { length: n }));
    whales.group_by_key().map(|(_, whales)| whales[0].length).count()?;
    Ok(())
}
