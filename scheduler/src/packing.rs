//! Packs contiguous partitions into tasks, by the measured size of what they read.

use super::partitions::Run;

/// Cuts `run` into tasks: each takes partitions until what they read reaches `target` bytes or there are
/// `max_partitions` of them. `sizes[i]` is what partition `i` reads; a partition without a size reads nothing.
///
/// A pure function of its arguments. It decides which process does the work, and never affects the result.
///
/// ```
/// use tryworks_scheduler::{Run, pack};
/// let tasks = pack(Run::new(0, 5), &[10, 10, 100, 10, 10], 20, 100);
/// assert_eq!(tasks, [Run::new(0, 2), Run::new(2, 3), Run::new(3, 5)]);
/// ```
pub fn pack(run: Run, sizes: &[u64], target: u64, max_partitions: u32) -> Vec<Run> {
    let mut tasks = Vec::new();
    let (mut start, mut filled) = (run.start, 0u64);
    for partition in run.iter() {
        let size = sizes.get(partition as usize).copied().unwrap_or(0);
        let taken = partition - start;
        if taken > 0 && (filled.saturating_add(size) > target || taken >= max_partitions.max(1)) {
            tasks.push(Run::new(start, partition));
            (start, filled) = (partition, 0);
        }
        filled = filled.saturating_add(size);
    }
    if start < run.end {
        tasks.push(Run::new(start, run.end));
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_oversized_partition_is_a_task_of_its_own() {
        assert_eq!(pack(Run::new(0, 3), &[1, 1_000, 1], 10, 8), [Run::new(0, 1), Run::new(1, 2), Run::new(2, 3)]);
    }

    #[test]
    fn empty_partitions_are_bounded_by_number() {
        assert_eq!(pack(Run::new(0, 5), &[], 10, 2), [Run::new(0, 2), Run::new(2, 4), Run::new(4, 5)]);
        assert_eq!(pack(Run::new(3, 3), &[], 10, 2), []);
    }

    proptest! {
        #[test]
        fn tasks_cover_the_run_once_in_order_and_none_could_take_its_neighbour(
            sizes in proptest::collection::vec(0u64..100, 0..60), target in 0u64..300, max in 0u32..20,
        ) {
            let run = Run::new(0, sizes.len() as u32);
            let tasks = pack(run, &sizes, target, max);
            let mut next = 0;
            for (i, task) in tasks.iter().enumerate() {
                prop_assert_eq!(task.start, next);
                prop_assert!(!task.is_empty() && task.len() <= max.max(1));
                let bytes: u64 = sizes[task.start as usize..task.end as usize].iter().sum();
                prop_assert!(bytes <= target || task.len() == 1);
                if let Some(after) = tasks.get(i + 1) {
                    prop_assert!(bytes + sizes[after.start as usize] > target || task.len() == max.max(1));
                }
                next = task.end;
            }
            prop_assert_eq!(next, run.end);
        }
    }
}
