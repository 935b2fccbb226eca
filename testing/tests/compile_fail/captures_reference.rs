//! A closure that captures a reference: refused in Tryworks's words.

use tryworks::prelude::*;

fn main() -> Result<()> {
    let cx = Context::local(1)?;
    let stop = "the".to_string();
    let words = cx.parallelize(vec!["a".to_string()]);
    words.map(|word| word + &stop).count()?;
    Ok(())
}
