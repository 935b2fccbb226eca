//! Benchmark: builds a user's project with all dependencies, and again after a change of one line, with clusters and
//! without. It also measures the size of the program, and the cost of one more shuffle.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use crate::harness::{Bench, Figure, Figures, Outcome, Settings, median};

/// How many times the project is changed and built again.
const REBUILDS: usize = 5;

/// How many shuffles are added, each with a type of its own.
const SHUFFLES: usize = 10;

const MANIFEST: &str = r#"[package]
name = "user"
version = "0.1.0"
edition = "2024"

[dependencies]
serde = { version = "1", features = ["derive"] }
tryworks = { path = "REPOSITORY", default-features = CLUSTER }

[profile.release]
strip = true

[workspace]
"#;

/// The benchmark.
pub fn bench(settings: &Settings) -> Outcome<Bench> {
    let shown = |label, unit| Figure { label, unit, goal: None };
    let rows = vec![
        shown("first", "s"),
        shown("again", "s"),
        shown("size", "MiB"),
        shown("a shuffle more, time", "s"),
        shown("a shuffle more, size", "KiB"),
        shown("without clusters: first", "s"),
        shown("without clusters: again", "s"),
        shown("without clusters: size", "MiB"),
    ];
    let project = settings.scratch.join("user");
    let measure = move || {
        let mut figures = measure(&project.join("clusters"), true)?;
        figures.extend(measure(&project.join("threads"), false)?.into_iter().take(3));
        Ok(figures)
    };
    Ok(Bench::Figures(Figures { rows, measure: Some(Box::new(measure)) }))
}

/// Seconds of the first build with all dependencies, median seconds of later builds, and mebibytes of the program; then
/// the seconds and kibibytes of one more shuffle.
fn measure(project: &Path, cluster: bool) -> Outcome<Vec<f64>> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the benchmarks lie in a repository")?;
    let example = repository.join("examples/word_count.rs");
    let source = fs::read_to_string(&example).map_err(|error| format!("{}: {error}", example.display()))?;
    fs::create_dir_all(project.join("src"))?;
    let repository_path = repository.to_str().ok_or("the path of the repository is not text")?;
    let manifest = MANIFEST.replace("REPOSITORY", repository_path).replace("CLUSTER", &cluster.to_string());
    fs::write(project.join("Cargo.toml"), manifest)?;
    // The versions that the repository is tested with.
    fs::copy(repository.join("Cargo.lock"), project.join("Cargo.lock"))?;

    let size = || Ok::<_, std::io::Error>(fs::metadata(project.join("target/release/user"))?.len() as f64);
    let first = build(project, &source, 0)?;
    let mut again = (1..=REBUILDS).map(|edit| build(project, &source, edit)).collect::<Outcome<Vec<f64>>>()?;
    let again = median(&mut again).ok_or("nothing was built again")?;
    let small = size()?;
    let longer = build(project, &with_shuffles(&source), 0)?;
    let shuffle = ((longer - again) / SHUFFLES as f64, (size()? - small) / SHUFFLES as f64 / 1024.0);
    Ok(vec![first, again, small / (1 << 20) as f64, shuffle.0, shuffle.1])
}

/// The program with shuffles of several types. It runs them only if it has more arguments than a user ever gives it.
fn with_shuffles(source: &str) -> String {
    let mut text = source.replace("fn main()", "fn first_main()");
    let mut main = String::from(
        "fn main() -> Result<()> {\n    if std::env::args().count() < 99 {\n        return first_main();\n    }\n    let cx = Context::init()?;\n",
    );
    for number in 0..SHUFFLES {
        text += &format!(
            "\n#[derive(Clone, serde::Serialize, serde::Deserialize)]\nstruct Value{number}(u64);\n\
             fn shuffle{number}(cx: &Context) -> Result<u64> {{\n    \
             cx.range(0..100).map(|n| (n % 7, Value{number}(n))).reduce_by_key(|a, b| Value{number}(a.0 + b.0))\
             .map(|(_, value)| value.0).sum()\n}}\n"
        );
        main += &format!("    println!(\"{{}}\", shuffle{number}(&cx)?);\n");
    }
    text + &main + "    Ok(())\n}\n"
}

/// Writes the source with its one changed line, and times the build.
fn build(project: &Path, source: &str, edit: usize) -> Outcome<f64> {
    let edited = format!("{source}\n#[used]\nstatic EDIT: usize = {edit};\n");
    fs::write(project.join("src/main.rs"), edited)?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--quiet", "--target-dir", "target"]).current_dir(project);
    // Variables that cargo sets for a program that it runs must not reach a project that this program builds.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR")
    {
        cargo.env_remove(name);
    }
    let begin = Instant::now();
    let status = cargo.stdin(Stdio::null()).status()?;
    let seconds = begin.elapsed().as_secs_f64();
    if status.success() { Ok(seconds) } else { Err("the user's project does not build".into()) }
}
