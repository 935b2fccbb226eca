//! Benchmark: a user's project built again after a change of one line, and the size of its program.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use crate::harness::{Bench, Figure, Figures, Outcome, Settings, median};

/// How often the project is changed and built again.
const REBUILDS: usize = 5;

const MANIFEST: &str = r#"[package]
name = "user"
version = "0.1.0"
edition = "2024"

[dependencies]
tryworks = { path = "REPOSITORY" }

[profile.release]
strip = true

[workspace]
"#;

/// The benchmark.
pub fn bench(settings: &Settings) -> Outcome<Bench> {
    let rows = vec![
        Figure { label: "first", unit: "s", goal: None },
        Figure { label: "again", unit: "s", goal: None },
        Figure { label: "size", unit: "MiB", goal: None },
    ];
    let project = settings.scratch.join("user");
    Ok(Bench::Figures(Figures { rows, measure: Some(Box::new(move || measure(&project))) }))
}

/// Seconds of the first build with all dependencies, median seconds of those after, mebibytes of the program.
fn measure(project: &Path) -> Outcome<Vec<f64>> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the benchmarks lie in a repository")?;
    let example = repository.join("examples/word_count.rs");
    let source = fs::read_to_string(&example).map_err(|error| format!("{}: {error}", example.display()))?;
    fs::create_dir_all(project.join("src"))?;
    let repository_path = repository.to_str().ok_or("the path of the repository is not text")?;
    fs::write(project.join("Cargo.toml"), MANIFEST.replace("REPOSITORY", repository_path))?;
    // The versions that the repository is tested with.
    fs::copy(repository.join("Cargo.lock"), project.join("Cargo.lock"))?;

    let first = build(project, &source, 0)?;
    let mut again = (1..=REBUILDS).map(|edit| build(project, &source, edit)).collect::<Outcome<Vec<f64>>>()?;
    let again = median(&mut again).ok_or("nothing was built again")?;
    let size = fs::metadata(project.join("target/release/user"))?.len();
    Ok(vec![first, again, size as f64 / (1 << 20) as f64])
}

/// Writes the source with its one changed line and times the build.
fn build(project: &Path, source: &str, edit: usize) -> Outcome<f64> {
    let edited = format!("{source}\n#[used]\nstatic EDIT: usize = {edit};\n");
    fs::write(project.join("src/main.rs"), edited)?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--quiet", "--target-dir", "target"]).current_dir(project);
    // What cargo tells a program that it runs is not for a project that this program builds.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR")
    {
        cargo.env_remove(name);
    }
    let begin = Instant::now();
    let status = cargo.stdin(Stdio::null()).status()?;
    let seconds = begin.elapsed().as_secs_f64();
    if status.success() { Ok(seconds) } else { Err("the user's project does not build".into()) }
}
