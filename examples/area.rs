//! The area under a curve, by the midpoint rule:
//!
//!     cargo run --release --example area
//!
//! The curve is y = 1 + 0.65 x + 0.25 x² from 0 to 3. Its integral is x + 0.325 x² + 0.25/3 x³, so that the area is
//! 3 + 2.925 + 2.25 = 8.175.

use tryworks::prelude::*;

const STEPS: u64 = 10_000_000;
const WIDTH: f64 = 3.0 / STEPS as f64;

fn curve(x: f64) -> f64 {
    1.0 + 0.65 * x + 0.25 * x * x
}

fn main() -> Result<()> {
    let cx = Context::init()?;
    let strips = cx.range(0..STEPS).map(|step| curve((step as f64 + 0.5) * WIDTH) * WIDTH);
    let area = strips.sum()?;
    println!("The area under the curve is {area:.9}.");
    assert!((area - 8.175).abs() < 1e-9, "it is 8.175, and this is {area}");
    Ok(())
}
