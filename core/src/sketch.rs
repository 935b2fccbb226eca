//! Sketches that estimate how many distinct items there are (HyperLogLog).

use crate::exchange::hash_of;
use datasketches::hll::{HllSketch, HllType, HllUnion};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::hash::Hash;
use tryworks_base::{Error, Op, Result};

/// A sketch of items. Its registers take up to two mebibytes, if the error is to be the least.
#[derive(Clone)]
pub struct Sketch(HllSketch);

/// The relative standard error of one register, by P. Flajolet and others ("HyperLogLog: the analysis of a near-optimal
/// cardinality estimation algorithm", 2007).
const ERROR_OF_ONE: f64 = 1.04;

/// The logarithm of the number of registers for a relative standard error.
pub(crate) fn registers(op: &Op, error: f64) -> Result<u8> {
    let of = |registers: &u8| ERROR_OF_ONE / f64::from(1u32 << registers).sqrt();
    if error.is_nan() || error > of(&4) {
        return Err(op.fault(format!("{}: the error has to be at most 0.26, and {error} was asked for", op.name)));
    }
    let least = "the error has to be at least 0.00072, and";
    (4..=21)
        .find(|registers| of(registers) <= error)
        .ok_or_else(|| op.fault(format!("{}: {least} {error} was asked for", op.name)))
}

impl Sketch {
    /// A sketch of no items, with `1 << registers` registers.
    pub(crate) fn new(registers: u8) -> Result<Self> {
        HllSketch::new(registers, HllType::Hll8).map(Sketch).map_err(|error| Error::Bug(error.to_string()))
    }

    #[inline]
    pub(crate) fn add<T: Hash>(&mut self, item: &T) {
        self.0.update(hash_of(item));
    }

    /// Adds the items of a sketch that has as many registers.
    pub(crate) fn merge(&mut self, other: &Sketch) -> Result<()> {
        let mut union = HllUnion::new(self.0.lg_config_k()).map_err(|error| Error::Bug(error.to_string()))?;
        union.update(&self.0);
        union.update(&other.0);
        self.0 = union.to_sketch(HllType::Hll8);
        Ok(())
    }

    /// About how many distinct items there are. It does not depend on the order of the items.
    pub(crate) fn estimate(&self) -> u64 {
        self.0.composite_estimate().round() as u64
    }
}

impl Serialize for Sketch {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0.serialize())
    }
}

impl<'de> Deserialize<'de> for Sketch {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(from)?;
        HllSketch::deserialize(&bytes).map(Sketch).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tryworks_base::codec;

    fn of(items: impl IntoIterator<Item = u64>, registers: u8) -> Sketch {
        let mut sketch = Sketch::new(registers).unwrap();
        items.into_iter().for_each(|item| sketch.add(&item));
        sketch
    }

    #[test]
    fn an_estimate_is_near_and_depends_neither_on_order_nor_on_parts() {
        for count in [0, 1, 10, 1_000, 100_000] {
            let whole = of(0..count, 14);
            let estimate = whole.estimate();
            assert!(estimate.abs_diff(count) as f64 <= 0.03 * count as f64, "{estimate}, not {count}");
            assert_eq!(of((0..count).rev().chain(0..count / 2), 14).estimate(), estimate);
            let mut parts = of(0..count / 3, 14);
            parts.merge(&of(count / 4..count, 14)).unwrap();
            assert_eq!(parts.estimate(), estimate);
            let back = codec::check_carried(&parts).unwrap();
            assert_eq!(back.estimate(), estimate);
        }
    }

    #[test]
    fn errors_have_as_many_registers_as_they_need() {
        let op = Op::here("count_approx_distinct");
        let registers = |error| registers(&op, error);
        assert_eq!((registers(0.26), registers(0.01), registers(0.00072)), (Ok(4), Ok(14), Ok(21)));
        for error in [0.5, 0.0001, 0.0, -1.0, f64::NAN] {
            assert!(registers(error).unwrap_err().to_string().contains("was asked for"));
        }
    }
}
