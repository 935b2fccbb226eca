//! A plan in the form that the scheduler takes.

use tryworks_base::ids::{ExchangeId, OutputId};
use tryworks_planner::{PlannedStage, Tasks};
use tryworks_scheduler::{Packing, StageSpec};

/// A stage of a plan. `output` gives the id of an exchange's output.
pub(crate) fn stage_spec(stage: &PlannedStage, output: impl Fn(ExchangeId) -> OutputId) -> StageSpec {
    StageSpec {
        output: stage.exchange.as_ref().map(|exchange| output(exchange.id)),
        partitions: stage.partitions,
        buckets: stage.exchange.as_ref().map_or(0, |exchange| exchange.readers),
        parents: stage.parents.iter().chain(&stage.spares).copied().collect(),
        deterministic: stage.deterministic,
        pack: match stage.tasks {
            Tasks::Each => Packing::Fixed(1),
            Tasks::BySize(target_bytes) => Packing::BySize { target_bytes, max_partitions: u32::MAX },
        },
        local_to: Vec::new(),
    }
}
