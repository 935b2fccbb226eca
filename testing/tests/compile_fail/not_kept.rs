//! An item that cannot be cached: refused in Tryworks's words.

use tryworks::prelude::*;

#[derive(Clone)]
struct Whale;

fn main() -> Result<()> {
    let cx = Context::local(1)?;
    let whales = cx.range(0..3).map(|_| Whale);
    let _ = whales.cache();
    let _ = whales.distinct();
    let _ = whales.repartition(3);
    let _ = whales.sort_by(|_| 1);
    let _ = whales.key_by(|_| 1).join(&whales.key_by(|_| 1));
    Ok(())
}
