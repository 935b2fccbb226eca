//! Items that are no lines of text: refused in Tryworks's words.

use tryworks::prelude::*;

fn main() -> Result<()> {
    let cx = Context::local(1)?;
    let pairs = cx.range(0..3).map(|n| (n, n));
    pairs.save_as_text_file("pairs")?;
    pairs.background().save_as_text_file("pairs")?.wait()
}
