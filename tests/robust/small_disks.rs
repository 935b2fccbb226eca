//! Disks and quotas that are too small for spilling: one job fails, and the next one runs.

use crate::support::{Place, SmallDisk, mix, names};
use tryworks::prelude::*;

#[test]
fn a_quota_that_is_too_small_fails_the_job_alone() {
    let place = Place::with(2, 256 << 10, |builder| builder.spill_quota(1 << 20).compress_spills(false));
    let pairs = place.cx.range_in(0..200_000, 4).map(|n| (mix(n), n));
    let sorted = pairs.sort_by_key();
    let error = sorted.count().unwrap_err();
    let text = error.to_string();
    assert!(matches!(&error, Error::Limit { name, value, .. } if name == "spill_quota" && *value == 1 << 20), "{text}");
    assert!(
        text.contains("bytes more of spill files in") && text.contains(place.dir.path().to_str().unwrap()),
        "{text}"
    );
    drop(sorted);
    place.settles();
    let some = pairs.filter(|(_, n)| *n < 20_000).sort_by_key().values();
    let mut expected: Vec<u64> = (0..20_000).collect();
    expected.sort_by_key(|n| mix(*n));
    assert!(some.collect().unwrap() == expected);
}

#[test]
fn a_full_disk_fails_the_job_alone() {
    let Some(disk) = SmallDisk::mount("2m") else { return };
    let cx = Context::builder().threads(2).memory(256 << 10).spill_dir(&disk.0).progress(false);
    let cx = cx.compress_spills(false).build().unwrap();
    let pairs = cx.range_in(0..400_000, 4).map(|n| (mix(n), n));
    let groups = pairs.group_by_key();
    let error = groups.count().unwrap_err();
    let text = error.to_string();
    assert!(matches!(&error, Error::Storage { .. }), "{text}");
    assert!(text.contains("No space left") && text.contains("bytes more were needed"), "{text}");
    assert!(text.contains(disk.0.to_str().unwrap()), "{text}");
    drop(groups);
    crate::support::wait_until("all is given back", || {
        cx.spill_bytes() == 0 && cx.memory().used() == 0 && cx.blocks() == 0
    });
    let some = pairs.filter(|(_, n)| *n < 20_000).group_by_key();
    assert_eq!(some.count().unwrap(), 20_000);
    assert!(cx.spill_bytes() > 0);
    assert_eq!(names(&disk.0), [""; 0]);
}
