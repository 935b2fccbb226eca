//! A hub that was started by hand, killed and started again.

use crate::rig::{Cluster, until};
use std::os::unix::process::ExitStatusExt;

impl Cluster {
    /// Kills the hub with signal 9, at once.
    pub fn kill_hub(&mut self) {
        let at = self.children.iter().position(|(name, _)| name == "hub").expect("the hub was started by hand");
        let (_, mut hub) = self.children.remove(at);
        hub.kill().unwrap();
        assert_eq!(hub.wait().unwrap().signal(), Some(9), "the hub died of it");
    }

    /// Starts the hub again, and waits until it answers; returns how many times a hub has started.
    pub fn start_hub(&mut self) -> u64 {
        self.spawn("hub", &["hub", "--name", "default"], None);
        until("the hub answers", || self.try_status()?["epoch"].as_u64())
    }

    /// The output of `tryworks cluster status`, if there is a hub.
    pub fn try_status(&self) -> Option<serde_json::Value> {
        let asked = self.command(&["cluster", "status", "--name", "default", "-o", "json"]).output().unwrap();
        serde_json::from_slice(&asked.stdout).ok()
    }

    /// The output of `tryworks job` for a job.
    pub fn job(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(&self.good(&["job", name, "--cluster", "default", "-o", "json"])).unwrap()
    }

    /// Waits until a job has this state.
    #[track_caller]
    pub fn job_is(&self, name: &str, state: &str) {
        until(&format!("{name} is {state}"), || (self.job(name)["job"]["state"] == state).then_some(()));
    }
}
