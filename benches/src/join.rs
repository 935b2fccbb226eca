//! Benchmark: an inner join of a large side with a small one, against hand-written radix partitions and hash tables.

use rayon::prelude::*;
use tryworks::prelude::*;

use crate::{
    data::{
        mix::mix2,
        rows::{customer, order},
    },
    harness::{Answer, Bench, Outcome, Pair, Settings},
    scatter::{hash, scatter},
};

/// Rows of the large side.
const ORDERS: u64 = 20_000_000;
/// Rows of the small side.
const CUSTOMERS: u64 = 1_000_000;
/// The radix partitions, as bits: the table for the small side of one partition fits into the second-level cache.
const PARTITION_BITS: u32 = 6;

/// How many rows there are, and how many identities their keys come from.
#[derive(Clone, Copy)]
pub struct Sizes {
    /// Rows of the large side.
    pub orders: u64,
    /// Rows of the small side.
    pub customers: u64,
    /// Identities on the large side; one in five has no customer.
    pub ordering: u64,
    /// Identities on the small side; one in four has two rows.
    pub known: u64,
}

impl Sizes {
    fn new(orders: u64, customers: u64) -> Self {
        Sizes { orders, customers, ordering: customers, known: (customers * 4).div_ceil(5) }
    }
}

/// The benchmark.
pub fn bench(settings: &Settings) -> Outcome<Bench> {
    let sizes = Sizes::new(settings.scaled(ORDERS), settings.scaled(CUSTOMERS));
    let cx = settings.context()?;
    Ok(Bench::Pair(Pair {
        ours: Some(Box::new(move || ours(&cx, sizes))),
        twin: Box::new(move || Ok(twin(sizes))),
        after: None,
        goal: Some(0.7),
        cpu: true,
    }))
}

fn ours(cx: &Context, sizes: Sizes) -> Outcome<Answer> {
    let orders = cx.range(0..sizes.orders).with(sizes.ordering).map(|ordering, index| order(index, *ordering));
    let customers = cx.range(0..sizes.customers).with(sizes.known).map(|known, index| customer(index, *known));
    let (count, checksum) = orders.join(&customers).aggregate(
        (0, 0u64),
        |all, (key, (order, customer))| (all.0 + 1, all.1.wrapping_add(digest(key, order, customer))),
        |a, b| (a.0 + b.0, a.1.wrapping_add(b.1)),
    )?;
    Ok(Answer { count, checksum })
}

/// What a match adds to the checksum.
#[inline]
pub fn digest(key: u64, order: u64, customer: u64) -> u64 {
    mix2(key ^ order, customer)
}

fn twin(sizes: Sizes) -> Answer {
    let orders = scatter(sizes.orders, PARTITION_BITS, |index| order(index, sizes.ordering), |row| hash(row.0));
    let customers = scatter(sizes.customers, PARTITION_BITS, |index| customer(index, sizes.known), |row| hash(row.0));
    let partitions = (0..1 << PARTITION_BITS).into_par_iter().map(|partition| {
        let mut table = Chains::new(customers.rows(partition));
        customers.partition(partition).for_each(|&(key, value)| table.add(key, value));
        let (mut count, mut checksum) = (0, 0u64);
        for &(key, value) in orders.partition(partition) {
            for other in table.get(key) {
                count += 1;
                checksum = checksum.wrapping_add(digest(key, value, other));
            }
        }
        (count, checksum)
    });
    let (count, checksum) = partitions.reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1.wrapping_add(b.1)));
    Answer { count, checksum }
}

/// The rows of the small side by key: a head for each hash, and chains through the rows.
struct Chains {
    heads: Vec<u32>,
    rows: Vec<(u64, u64)>,
    next: Vec<u32>,
}

/// The end of a chain.
const END: u32 = u32::MAX;

impl Chains {
    fn new(rows: usize) -> Self {
        let heads = vec![END; (rows * 2).next_power_of_two()];
        Chains { heads, rows: Vec::with_capacity(rows), next: Vec::with_capacity(rows) }
    }

    /// All keys of a partition share the top bits of the hash, so other bits choose the slot.
    #[inline]
    fn place(&self, key: u64) -> usize {
        (hash(key) >> 20) as usize & (self.heads.len() - 1)
    }

    fn add(&mut self, key: u64, value: u64) {
        let place = self.place(key);
        self.next.push(self.heads[place]);
        self.heads[place] = self.rows.len() as u32;
        self.rows.push((key, value));
    }

    #[inline]
    fn get(&self, key: u64) -> impl Iterator<Item = u64> {
        let mut at = self.heads[self.place(key)];
        std::iter::from_fn(move || {
            while let Some(&(other, value)) = self.rows.get(at as usize) {
                at = self.next[at as usize];
                if other == key {
                    return Some(value);
                }
            }
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_loops_do() {
        let sizes = Sizes::new(3_000, 500);
        let mut answer = Answer { count: 0, checksum: 0 };
        for (key, order) in (0..sizes.orders).map(|index| order(index, sizes.ordering)) {
            let customers = (0..sizes.customers).map(|index| customer(index, sizes.known));
            for (_, customer) in customers.filter(|customer| customer.0 == key) {
                answer.count += 1;
                answer.checksum = answer.checksum.wrapping_add(digest(key, order, customer));
            }
        }
        assert!(answer.count > 2_000);
        assert_eq!(twin(sizes), answer);
    }
}
