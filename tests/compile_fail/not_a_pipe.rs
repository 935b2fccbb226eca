//! A dataset that is named by what is in it: what to write is said.

use tryworks::prelude::*;

fn count(numbers: &Dataset<u64>) -> Result<u64> {
    numbers.count()
}

fn main() -> Result<()> {
    count(&Context::local(1)?.range(0..3)).map(drop)
}
