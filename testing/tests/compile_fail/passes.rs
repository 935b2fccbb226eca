//! A program that compiles: trybuild then builds the other cases, so that assertions on sizes are evaluated.

use tryworks::prelude::*;

fn main() -> Result<()> {
    let cx = Context::local(1)?;
    let (stop, factor) = ("a".to_string(), 3);
    let words = cx.parallelize(vec!["a".to_string(), "b".to_string()]);
    assert_eq!(words.with(stop).filter(|stop, word| word != stop).count()?, 1);
    assert_eq!(cx.range(0..3).with(factor).map(|factor, n| factor * n).sum()?, 9);
    Ok(())
}
