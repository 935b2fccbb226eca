//! The faults of a run: rules about messages, of which the first that matches decides, and a plan of disasters.

use super::rng::Rng;
use tryworks_scheduler::Time;

pub(super) const MS: u64 = 1_000_000;

/// Which messages a rule applies to.
#[derive(Clone, Debug)]
pub(super) enum When {
    Always,
    /// Messages to and from this host within a span of time, as if a cable was pulled.
    Host {
        host: usize,
        from: Time,
        until: Time,
    },
}

/// What happens to a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    /// It arrives after some time; a later message may overtake it.
    Pass { at_least: u64, at_most: u64 },
    /// It arrives twice.
    Twice { at_most: u64 },
    /// It is lost; important messages are sent again.
    Drop,
}

#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub when: When,
    pub per_mille: u64,
    pub verdict: Verdict,
}

/// Something that happens to a host, independently of messages.
#[derive(Clone, Copy, Debug)]
pub(super) enum Disaster {
    /// The process is killed, and started again after this time.
    KillEngine { back_after: Option<u64> },
    /// A worker dies, and with it the tasks that it was running.
    KillWorker,
    /// One block vanishes.
    LoseBlock,
    /// The engine is asked to leave. If it may not go in time, it is killed or asked to stay.
    Drain { patience: u64, kill: bool },
    /// The hub is killed, and starts again after this time. If it is patient, it waits for the engines that it knew
    /// before it accepts jobs.
    KillHub { back_after: u64, patient: bool },
    /// The engine is short of memory and takes no new tasks for this long.
    CloseGate { for_nanos: u64 },
    /// The engine cannot start its tasks for this long.
    Sicken { for_nanos: u64 },
}

/// The severity of a run's faults.
#[derive(Debug)]
pub(super) struct Faults {
    pub rules: Vec<Rule>,
    pub disasters: Vec<(Time, usize, Disaster)>,
    pub fetch_per_mille: u64,
    pub error_per_mille: u64,
    pub poison_per_mille: u64,
    pub cancel_per_mille: u64,
    pub early_release_per_mille: u64,
    /// How many tasks of a thousand take ten times as long.
    pub slow_per_mille: u64,
    pub fickle: bool,
    /// From here on there are no faults.
    pub end: Time,
}

impl Faults {
    pub fn random(rng: &mut Rng, hosts: usize) -> Self {
        let end = Time(rng.within(200, 1500) * MS);
        let mut rules = Vec::new();
        if rng.chance(400) {
            for _ in 0..rng.within(1, 3) {
                let from = rng.below(end.0);
                let (host, until) = (rng.below(hosts as u64) as usize, Time(from + rng.within(20, 700) * MS));
                let when = When::Host { host, from: Time(from), until };
                rules.push(Rule { when, per_mille: 1000, verdict: Verdict::Drop });
            }
        }
        if rng.chance(500) {
            rules.push(Rule { when: When::Always, per_mille: rng.within(1, 200), verdict: Verdict::Drop });
        }
        if rng.chance(500) {
            let verdict = Verdict::Twice { at_most: 60 * MS };
            rules.push(Rule { when: When::Always, per_mille: rng.within(1, 200), verdict });
        }
        if rng.chance(300) {
            let verdict = Verdict::Pass { at_least: 20 * MS, at_most: 400 * MS };
            rules.push(Rule { when: When::Always, per_mille: rng.within(1, 50), verdict });
        }
        let mut disasters = Vec::new();
        let busy = if rng.chance(750) { rng.within(0, 8) } else { 0 };
        for _ in 0..busy {
            let disaster = match rng.below(10) {
                0..4 => Disaster::KillEngine { back_after: Some(rng.within(1, 400) * MS) },
                4 => Disaster::Drain { patience: rng.within(50, 500) * MS, kill: rng.chance(500) },
                5..7 => Disaster::KillWorker,
                7 => Disaster::CloseGate { for_nanos: rng.within(1, 300) * MS },
                _ => Disaster::LoseBlock,
            };
            disasters.push((Time(rng.below(end.0)), rng.below(hosts as u64) as usize, disaster));
        }
        let sick = if rng.chance(250) { rng.within(1, 4) } else { 0 };
        for _ in 0..sick {
            let sicken = Disaster::Sicken { for_nanos: rng.within(1, 300) * MS };
            disasters.push((Time(rng.below(end.0)), rng.below(hosts as u64) as usize, sicken));
        }
        let restarts = if rng.chance(350) { rng.within(1, 3) } else { 0 };
        for _ in 0..restarts {
            let hub = Disaster::KillHub { back_after: rng.within(1, 150) * MS, patient: rng.chance(700) };
            disasters.push((Time(rng.below(end.0)), 0, hub));
        }
        if rng.chance(40) {
            let last = rng.below(end.0);
            disasters.extend((0..hosts).map(|host| (Time(last), host, Disaster::KillEngine { back_after: None })));
        }
        let mut sometimes = |often: u64, high: u64| if rng.chance(often) { rng.within(1, high) } else { 0 };
        Self {
            rules,
            disasters,
            fetch_per_mille: sometimes(300, 30) + 10 * sometimes(50, 40),
            error_per_mille: sometimes(400, 200),
            poison_per_mille: sometimes(150, 60),
            cancel_per_mille: sometimes(300, 600),
            early_release_per_mille: sometimes(400, 700),
            slow_per_mille: sometimes(300, 200),
            fickle: sometimes(250, 1) > 0,
            end,
        }
    }

    /// Decides about one message between the hub and a host. After the end of faults the network is good.
    pub fn verdict(&self, rng: &mut Rng, now: Time, about: usize) -> Verdict {
        let good = Verdict::Pass { at_least: MS / 10, at_most: 3 * MS };
        if now >= self.end {
            return good;
        }
        let first = self.rules.iter().find(|rule| rule.matches(now, about) && rng.chance(rule.per_mille));
        first.map_or(good, |rule| rule.verdict)
    }

    /// Whether a host is cut off from the network.
    pub fn is_cut(&self, now: Time, about: usize) -> bool {
        let cut = |rule: &Rule| matches!(rule.when, When::Host { .. }) && rule.matches(now, about);
        now < self.end && self.rules.iter().any(cut)
    }
}

impl Rule {
    fn matches(&self, now: Time, about: usize) -> bool {
        match self.when {
            When::Always => true,
            When::Host { host, from, until } => host == about && from <= now && now < until,
        }
    }
}
