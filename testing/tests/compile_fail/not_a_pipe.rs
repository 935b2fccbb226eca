//! A dataset whose type names its items: the message says what to write.

use tryworks::prelude::*;

fn count(numbers: &Dataset<u64>) -> Result<u64> {
    numbers.count()
}

fn main() -> Result<()> {
    count(&Context::local(1)?.range(0..3)).map(drop)
}
