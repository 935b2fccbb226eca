//! The plan as text for people and as a graph for Graphviz: stable, with the reason of each decision.

use crate::plan::{Plan, PlannedStage, Step, Tasks};
use std::fmt::Write;

/// The plan as text.
pub fn text(plan: &Plan) -> String {
    let mut out = String::new();
    for (at, stage) in plan.stages.iter().enumerate() {
        // In a long loop most stages are of earlier jobs: only what runs and what it reads is shown.
        if !stage.needed {
            continue;
        }
        let _ = writeln!(out, "stage {at}: {}", head(plan, at, stage));
        if stage.runs() {
            for step in &stage.steps {
                let _ = writeln!(out, "  {}", line(step));
            }
        }
        let _ = match &stage.exchange {
            Some(exchange) => writeln!(out, "  -> {}", exchange.detail),
            None => writeln!(out, "  -> result"),
        };
    }
    out
}

fn head(plan: &Plan, at: usize, stage: &PlannedStage) -> String {
    let mut out = match stage.partitions {
        1 => "1 partition".to_string(),
        n => format!("{n} partitions"),
    };
    if stage.runs() && !stage.parents.is_empty() {
        let parents: Vec<_> = stage.parents.iter().map(|parent| format!("stage {parent}")).collect();
        let _ = write!(out, " of {}", parents.join(" and "));
    }
    match stage.tasks {
        _ if !stage.runs() => out.push_str(", not run: its blocks exist"),
        Tasks::Each => {}
        Tasks::BySize(bytes) => {
            let _ = write!(out, ", packed into tasks of {} MiB by measured size", bytes >> 20);
        }
    }
    let reads = |other: &usize| plan.stages[*other].runs() && plan.stages[*other].parents.contains(&at);
    let readers: Vec<_> = (0..plan.stages.len()).filter(reads).collect();
    if readers.len() > 1 {
        let readers: Vec<_> = readers.iter().map(|reader| format!("stage {reader}")).collect();
        let _ = write!(out, ", shared by {}", readers.join(" and "));
    }
    if !stage.deterministic {
        out.push_str(", may come out otherwise when run again");
    }
    out
}

fn line(step: &Step) -> String {
    let mut out = step.node.op.name.to_string();
    if !step.node.detail.is_empty() {
        let _ = write!(out, " ({})", step.node.detail);
    }
    if step.cached {
        out.push_str(" [kept: what is before it is not run]");
    }
    out
}

/// The plan in the language of Graphviz.
pub fn dot(plan: &Plan) -> String {
    let mut out = String::from("digraph plan {\n  rankdir=TB;\n  node [shape=box, fontname=\"sans-serif\"];\n");
    for (at, stage) in plan.stages.iter().enumerate().filter(|(_, stage)| stage.needed) {
        let mut label = format!("stage {at}: {}", head(plan, at, stage));
        for step in &stage.steps {
            let _ = write!(label, "\n{}", line(step));
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
