//! The plan as text for people and as a graph for Graphviz. The text is stable, and gives the reason for each decision.

use crate::plan::{Plan, PlannedStage, Step, Tasks};
use std::collections::BTreeMap;
use std::fmt::Write;
use tryworks_base::ids::ExchangeId;
use tryworks_core::lineage::Input;

/// The plan as text.
pub fn text(plan: &Plan) -> String {
    let mut out = String::new();
    let links = Links::of(plan);
    for (at, stage) in plan.stages.iter().enumerate() {
        // In a long loop most stages belong to earlier jobs. Only stages that run, and those that they read, are shown.
        if !stage.needed {
            continue;
        }
        let _ = writeln!(out, "stage {at}: {}", head(stage, &links.readers[at]));
        if stage.runs() {
            for step in &stage.steps {
                let _ = writeln!(out, "  {}", line(stage, step, &links));
            }
        }
        let _ = match &stage.exchange {
            Some(exchange) => writeln!(out, "  -> {}", exchange.detail),
            None => writeln!(out, "  -> result"),
        };
    }
    out
}

/// Which stages write and read which exchanges.
struct Links {
    /// The stage that writes each exchange.
    writers: BTreeMap<ExchangeId, usize>,
    /// For each stage, the running stages that read it.
    readers: Vec<Vec<usize>>,
}

impl Links {
    fn of(plan: &Plan) -> Self {
        let writer = |(at, stage): (usize, &PlannedStage)| Some((stage.exchange.as_ref()?.id, at));
        let mut readers = vec![Vec::new(); plan.stages.len()];
        for (at, stage) in plan.stages.iter().enumerate().filter(|(_, stage)| stage.runs()) {
            stage.parents.iter().for_each(|&parent| readers[parent].push(at));
        }
        Links { writers: plan.stages.iter().enumerate().filter_map(writer).collect(), readers }
    }
}

/// Stages, by their numbers.
fn listed(stages: &[usize]) -> String {
    stages.iter().map(|stage| format!("stage {stage}")).collect::<Vec<_>>().join(" and ")
}

fn head(stage: &PlannedStage, readers: &[usize]) -> String {
    let mut out = match stage.partitions {
        1 => "1 partition".to_string(),
        n => format!("{n} partitions"),
    };
    if stage.runs() && !stage.parents.is_empty() {
        let _ = write!(out, " of {}", listed(&stage.parents));
    }
    match stage.tasks {
        _ if !stage.runs() => out.push_str(", not run: its blocks exist"),
        Tasks::Each => {}
        Tasks::BySize(_) if stage.partitions == 1 => {}
        Tasks::BySize(bytes) => {
            let _ = write!(out, ", packed into tasks of {} MiB by measured size", bytes >> 20);
        }
    }
    if readers.len() > 1 {
        let _ = write!(out, ", shared by {}", listed(readers));
    }
    if !stage.deterministic {
        out.push_str(", may differ when recomputed");
    }
    out
}

fn line(stage: &PlannedStage, step: &Step, links: &Links) -> String {
    let mut out = step.node.op.name.to_string();
    // If the stage reads several stages, this says which ones the operator reads.
    if stage.parents.len() > 1 {
        let read = step.node.inputs.iter().filter_map(|input| match input {
            Input::Shuffle(exchange) => links.writers.get(&exchange.id).copied(),
            Input::Narrow(_) => None,
        });
        let read: Vec<_> = read.collect();
        if !read.is_empty() {
            let _ = write!(out, " of {}", listed(&read));
        }
    }
    if !step.node.detail.is_empty() {
        let _ = write!(out, " ({})", step.node.detail);
    }
    if step.cached {
        out.push_str(" [cached: earlier steps do not run]");
    }
    out
}

/// The plan in the language of Graphviz.
pub fn dot(plan: &Plan) -> String {
    let mut out = String::from("digraph plan {\n  rankdir=TB;\n  node [shape=box, fontname=\"sans-serif\"];\n");
    let links = Links::of(plan);
    for (at, stage) in plan.stages.iter().enumerate().filter(|(_, stage)| stage.needed) {
        let mut label = format!("stage {at}: {}", head(stage, &links.readers[at]));
        for step in &stage.steps {
            let _ = write!(label, "\n{}", line(stage, step, &links));
        }
        let style = if stage.runs() { "" } else { ", style=dashed" };
        let _ = writeln!(out, "  s{at} [label=\"{}\"{style}];", quoted(&label));
        for &parent in stage.parents.iter().filter(|_| stage.runs()) {
            let detail = plan.stages[parent].exchange.as_ref().map_or("", |exchange| &exchange.detail);
            let _ = writeln!(out, "  s{parent} -> s{at} [label=\"{}\"];", quoted(detail));
        }
    }
    out.push_str("}\n");
    out
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\l")
}
