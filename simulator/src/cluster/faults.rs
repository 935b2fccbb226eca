//! The faults of a run, which are decided before it begins.

use super::programs::Job;
use super::{Happening, MS, SECOND, World};
use tryworks_scheduler::Time;

/// A fault.
#[derive(Clone, Copy, Debug)]
pub(super) enum Disaster {
    CrashEngine(usize),
    KillWorker(usize),
    CutEngine(usize),
    CutDriver(usize),
    /// Its messages arrive so late that the hub gives it up first, and hears them then.
    StallEngine(usize),
    /// Its program ends before its jobs do, and is run again after this time.
    EndDriver(usize, u64),
    KillHub,
    /// For this long, commits are slow or fail.
    SlowDisk(u64),
    FullDisk(u64),
}

impl World {
    pub(super) fn plan(&mut self) {
        self.calm = Time(self.rng.within(1, 20) * SECOND);
        self.after(0, Happening::HubStarts);
        for host in 0..self.hosts.len() {
            self.soon(0, 300 * MS, Happening::Dial(host, 0));
            self.after(0, Happening::EngineTicks(host, 0));
        }
        for driver in 0..self.drivers.len() {
            self.soon(0, 300 * MS, Happening::DialDriver(driver, 0));
        }
        let detached = self.rng.chance(400);
        for plan in 0..self.workload.jobs.len() {
            let driver = self.rng.below(self.drivers.len() as u64) as usize;
            let name = (detached && self.rng.chance(500)).then(|| format!("night{plan}"));
            let at = self.drivers[driver].jobs.len();
            self.drivers[driver].jobs.push(Job::new(plan, name));
            let late = self.rng.below(self.calm.0 / 2);
            self.after(late, Happening::Submit(driver, at));
            if self.rng.chance(50) {
                self.soon(late, late + SECOND, Happening::Cancel(driver, at));
            }
        }
        let (hosts, drivers) = (self.hosts.len() as u64, self.drivers.len() as u64);
        let number = if self.rng.chance(850) { self.rng.within(1, 10) } else { 0 };
        for _ in 0..number {
            let (host, driver) = (self.rng.below(hosts) as usize, self.rng.below(drivers) as usize);
            let disaster = match self.rng.below(17) {
                0..2 => Disaster::CrashEngine(host),
                2..4 => Disaster::KillWorker(host),
                4..7 => Disaster::CutEngine(host),
                7..10 => Disaster::CutDriver(driver),
                10 => Disaster::EndDriver(driver, self.rng.within(100, 8_000) * MS),
                11..14 => Disaster::KillHub,
                14 => Disaster::StallEngine(host),
                15 => Disaster::SlowDisk(self.rng.within(100, 5_000) * MS),
                _ => Disaster::FullDisk(self.rng.within(100, 5_000) * MS),
            };
            let at = self.rng.below(self.calm.0);
            self.after(at, Happening::Disaster(disaster));
        }
    }

    pub(super) fn strike(&mut self, disaster: Disaster) {
        match disaster {
            Disaster::CrashEngine(host) => self.crash_engine(host),
            Disaster::KillWorker(host) => self.kill_worker(host),
            Disaster::CutEngine(host) => {
                if let Some(peer) = self.hosts[host].peer {
                    self.cut(peer);
                }
            }
            Disaster::CutDriver(driver) => {
                if let Some(peer) = self.drivers[driver].peer {
                    self.cut(peer);
                }
            }
            Disaster::StallEngine(host) => self.stall(host),
            Disaster::EndDriver(driver, back_after) => self.end_driver(driver, back_after),
            Disaster::KillHub => self.kill_hub(),
            Disaster::SlowDisk(lasts) => self.disk.slow_until = Time(self.now.0 + lasts),
            Disaster::FullDisk(lasts) => self.disk.full_until = Time(self.now.0 + lasts),
        }
    }
}
