//! A closure that captures an `Rc`: refused in Tryworks's words.

use std::rc::Rc;
use tryworks::prelude::*;

fn main() -> Result<()> {
    let cx = Context::local(1)?;
    let shared = Rc::new(3);
    cx.range(0..3).flat_map_into(move |n, out| out.push(n * *shared)).count()?;
    Ok(())
}
