//! Nondeterministic code that gives another answer after the hub has restarted.

use crate::here;
use crate::rig::{Cluster, Engine, claim, driving, gate, mark, signal};
use rustix::process::Signal;
use std::collections::BTreeSet;
use tryworks::prelude::*;

#[test]
fn a_map_task_that_gives_the_next_hub_another_output_is_detected() {
    if driving() {
        let cx = Context::init().unwrap();
        let rows = cx.range_in(0..4_000, 4).flat_map_into(|n, out| {
            if n % 1_000 == 0 {
                mark(format!("map-{}", n / 1_000));
                if claim("other") {
                    // The first run of each has one row more.
                    out.push((4_000 + n, String::new()));
                }
            }
            out.push((n, format!("{n:0100}")));
        });
        let groups = rows.shuffle_into(2).group_by_key();
        assert_eq!(groups.count().unwrap(), 4_004);
        mark("once");
        gate("again");
        println!("SECOND {}", groups.count().unwrap());
        return;
    }
    let mut cluster = Cluster::by_hand(2, 1, &[]);
    cluster.shared.tokens("other", 4);
    let driver = cluster.begin(here!(), &[]);
    cluster.shared.wait_for("once", 1);
    assert!(cluster.shared.all_taken("other"));
    let maker = |part: u32| cluster.shared.markers(&format!("map-{part}"))[0];
    let of_victim = |(_, pid): &(String, u32)| cluster.children(*pid).contains(&maker(0));
    let (name, victim) = cluster.engines().into_iter().find(of_victim).unwrap();
    let workers = cluster.children(victim);
    let lost: BTreeSet<u32> = (0..4).filter(|part| workers.contains(&maker(*part))).collect();
    cluster.kill_hub();
    signal(victim, Signal::KILL);
    cluster.wait_for_end(victim);
    assert_eq!(cluster.start_hub(), 2);
    // Another engine has its directory, and starts empty.
    cluster.add(&name, Engine { slots: 1, ..Engine::default() });
    cluster.wait_for_engines(2);
    cluster.shared.open("again");
    let done = driver.ends_well();
    let again: BTreeSet<u32> = (0..4).filter(|part| cluster.shared.marks(&format!("map-{part}")) > 1).collect();
    assert_eq!(again, lost, "what was lost was recomputed, and nothing else");
    assert!(done.out.contains(&format!("SECOND {}", 4_004 - lost.len())), "{}", done.out);
    assert!(done.err.contains("stage 0 is not deterministic: partition"), "{}", done.err);
}
