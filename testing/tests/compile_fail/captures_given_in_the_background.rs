//! Every form of an action checks what its functions capture, and the message points at the call.

use tryworks::prelude::*;

fn main() -> Result<()> {
    let cx = Context::local(1)?;
    let most = std::env::args().count() as u64;
    cx.range(0..3).with(2u64).background().fold(0, move |two, a, b| (a + b * two).min(most))?.wait()?;
    cx.range(0..3).aggregate(0, |a, n| a + n, move |a, b| (a + b).min(most))?;
    cx.range(0..3).for_each(move |n| assert!(n < most))
}
