//! The agenda of a run, decided before it begins: when engines start, which jobs are submitted, and which faults
//! happen.

use super::{BEAT, Happening, World};
use crate::faults::MS;
use crate::workload::output;

impl World {
    pub(super) fn plan_the_run(&mut self) {
        for host in 0..self.hosts.len() {
            let late = self.rng.below(50 * MS);
            self.after(late, Happening::Start(host));
            self.after(late + BEAT, Happening::Beat(host));
        }
        self.after(BEAT, Happening::HubLooksRound);
        for (at, host, disaster) in self.faults.disasters.clone() {
            self.after(at.0, Happening::Disaster(host, disaster));
        }
        let mut submitted = 0;
        let mut last_use = vec![0; self.workload.pool.len()];
        for job in 0..self.workload.jobs.len() {
            submitted += self.rng.below(150 * MS);
            self.after(submitted, Happening::Submit(job));
            self.workload.jobs[job].stages.iter().for_each(|&stage| last_use[stage] = submitted);
            if self.rng.chance(self.faults.cancel_per_mille) {
                let later = self.rng.below(300 * MS);
                self.after(submitted + later, Happening::Cancel(self.workload.jobs[job].id));
            }
        }
        for (stage, &last) in last_use.iter().enumerate() {
            if self.rng.chance(self.faults.early_release_per_mille) {
                let later = self.rng.within(1, 200 * MS);
                self.after(last + later, Happening::Release(output(stage)));
            }
        }
        let mut places: Vec<(u64, u32)> = Vec::new();
        for (at, stage) in self.workload.pool.iter().enumerate() {
            places.extend((0..stage.partitions).map(|partition| (at as u64, partition)));
        }
        for job in &self.workload.jobs {
            places.extend(job.spec.wanted.iter().map(|partition| (crate::workload::result_name(job.id), partition)));
        }
        for place in places {
            if self.rng.chance(self.faults.error_per_mille) {
                self.errors_left.insert(place, self.rng.within(1, 5) as u32);
            }
            if self.rng.chance(self.faults.poison_per_mille) {
                self.poison.push(place);
            }
        }
    }
}
