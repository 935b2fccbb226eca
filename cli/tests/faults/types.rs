//! Types that the codec cannot carry are reported on a cluster as on threads.

use crate::attributes;
use crate::here;
use crate::rig::{Cluster, driving};
use tryworks::prelude::*;

#[test]
fn what_attributes_do_to_values_that_travel_is_told_on_a_cluster() {
    if driving() {
        let cx = Context::init().unwrap();
        match std::env::var("TRYWORKS_CHECK_ROWS").as_deref() {
            Ok("1") => attributes::of_checked_rows(&cx),
            _ => attributes::of_later_values(&cx),
        }
        return attributes::of_anything(&cx);
    }
    let cluster = Cluster::by_hand(1, 2, &[]);
    for checks in ["0", "1"] {
        cluster.begin(here!(), &[("TRYWORKS_CHECK_ROWS", checks)]).ends_well();
    }
    cluster.is_clean();
}
