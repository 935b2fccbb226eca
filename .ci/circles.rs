//! Checks that no circle of imports crosses a folder. If a folder uses another part of its crate, and that part uses the
//! folder, neither can be understood alone. Files of one folder may use each other.
//!
//! `.ci/run` compiles this file as a test and runs it in the root of the repository.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

/// A module: its crate, then its path in the crate.
type Module = Vec<String>;

/// The modules of all crates, with their text. Those of tests are not among them.
type Sources = BTreeMap<Module, String>;

/// A part of a folder, which is a file or a folder: for each other part that it uses, a line that does so.
type Uses = BTreeMap<String, BTreeMap<String, String>>;

/// The circles of imports through at least one folder, one line each.
fn circles(sources: &Sources) -> Vec<String> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for (parent, uses) in uses_in_folders(sources) {
        let is_folder = |part: &String| {
            let inside = |module: &Module| module.len() > parent.len() + 1 && module[parent.len()] == *part;
            sources.keys().any(|module| module.starts_with(&parent) && inside(module))
        };
        for folder in uses.keys().filter(|part| is_folder(part)) {
            let Some(circle) = circle_through(folder, &uses) else { continue };
            let parts: BTreeSet<_> = circle.iter().map(|(part, _)| (parent.clone(), part.clone())).collect();
            if seen.insert(parts) {
                let lines: Vec<_> = circle.into_iter().map(|(_, line)| line).collect();
                found.push(format!("in {}: {}", parent.join("::"), lines.join("; ")));
            }
        }
    }
    found
}

/// For each folder, how its parts use each other.
fn uses_in_folders(sources: &Sources) -> BTreeMap<Module, Uses> {
    let (mut used, mut imported) = (Vec::new(), BTreeMap::new());
    for (module, text) in sources {
        for (path, is_import) in paths_in(module, text, sources) {
            if let Some(name) = path.last().filter(|_| is_import) {
                imported.insert([&module[..], &[name.clone()]].concat(), path.clone());
            }
            used.push((module, path));
        }
    }
    let mut folders: BTreeMap<Module, Uses> = BTreeMap::new();
    for (module, path) in used {
        let target = target(&path, sources, &imported);
        let common = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
        // What is in a folder may use the folder itself, and the other way round.
        if common > 0 && common < module.len() && common < target.len() {
            let uses = folders.entry(module[..common].to_vec()).or_default();
            let line = format!("{} uses {}", module.join("::"), path.join("::"));
            uses.entry(module[common].clone()).or_default().entry(target[common].clone()).or_insert(line);
        }
    }
    folders
}

/// The module that a path leads to, where names that a module imports lead on to what they name.
fn target(path: &[String], sources: &Sources, imported: &BTreeMap<Module, Module>) -> Module {
    let mut path = path.to_vec();
    for _ in 0..8 {
        let Some(len) = (1..=path.len()).rev().find(|len| sources.contains_key(&path[..*len])) else { break };
        match path.get(..len + 1).and_then(|named| imported.get(named)) {
            Some(further) if *further != path[..len + 1] => path = [&further[..], &path[len + 1..]].concat(),
            _ => return path[..len].to_vec(),
        }
    }
    Vec::new()
}

/// The shortest circle that leads from a part to itself: each part of it, with the line that uses the next one.
fn circle_through(part: &String, uses: &Uses) -> Option<Vec<(String, String)>> {
    let mut ways = VecDeque::from([(part, Vec::new())]);
    let mut reached = BTreeSet::new();
    while let Some((at, way)) = ways.pop_front() {
        for (next, line) in uses.get(at).into_iter().flatten() {
            let mut way = way.clone();
            way.push((at.clone(), line.clone()));
            if next == part {
                return Some(way);
            }
            if reached.insert(next) {
                ways.push_back((next, way));
            }
        }
    }
    None
}

/// The paths in a module that lead into its crate, and whether each is an import. Of the others it has those that begin
/// with `crate`, `super` or `self`.
fn paths_in(module: &Module, text: &str, sources: &Sources) -> Vec<(Module, bool)> {
    let tokens = tokens(text);
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let is_import = tokens[at] == "use";
        let is_path =
            matches!(&*tokens[at], "crate" | "super" | "self") && tokens.get(at + 1).is_some_and(|t| t == "::");
        if is_import || is_path {
            at += usize::from(is_import);
            let mut paths = Vec::new();
            tree(&tokens, &mut at, &[], &mut paths);
            found.extend(paths.iter().filter_map(|path| Some((from_crate(module, path, sources)?, is_import))));
        } else {
            at += 1;
        }
    }
    found
}

/// Reads a path, or a tree of paths in braces, and adds the paths to `found`.
fn tree(tokens: &[String], at: &mut usize, before: &[String], found: &mut Vec<Module>) {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(*at) {
        if token == "{" {
            *at += 1;
            while tokens.get(*at).is_some_and(|token| token != "}") {
                let begin = *at;
                tree(tokens, at, &path, found);
                // `as` and a name, and the comma.
                while tokens.get(*at).is_some_and(|token| !matches!(&**token, "," | "}")) {
                    *at += 1;
                }
                *at += usize::from(tokens.get(*at).is_some_and(|token| token == ","));
                assert!(*at > begin, "an import that cannot be read: {path:?}");
            }
            *at += 1;
            return;
        }
        path.push(token.clone());
        *at += 1;
        if tokens.get(*at).is_none_or(|token| token != "::") {
            break;
        }
        *at += 1;
    }
    found.push(path);
}

/// A path as it is from the crate on; `None` if it leads to another crate.
fn from_crate(module: &Module, path: &[String], sources: &Sources) -> Option<Module> {
    let first = path.first()?;
    let up = path.iter().take_while(|name| *name == "super").count();
    match &**first {
        "crate" => Some([&module[..1], &path[1..]].concat()),
        "self" => Some([&module[..], &path[1..]].concat()),
        "super" => Some([module.get(..module.len().checked_sub(up)?)?, &path[up..]].concat()),
        _ => {
            let inside = [&module[..], &path[..1]].concat();
            sources.contains_key(&inside).then(|| [&module[..], path].concat())
        }
    }
}

/// The names, `::` and other characters of a text, without comments, strings and characters.
fn tokens(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("r#\"") {
            rest[3..].find("\"#").map_or(rest.len(), |end| end + 5)
        } else if first == '"' {
            quoted(rest)
        } else if first == '\'' {
            character(rest)
        } else if rest.starts_with("::") {
            found.push("::".into());
            2
        } else if first.is_alphanumeric() || first == '_' {
            let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            found.push(rest[..len].into());
            len
        } else {
            if !first.is_whitespace() {
                found.push(first.into());
            }
            first.len_utf8()
        };
        rest = &rest[len..];
    }
    found
}

/// The length of the string that the text begins with.
fn quoted(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !is_escaped => return at + 1,
            _ => is_escaped = c == '\\' && !is_escaped,
        }
    }
    text.len()
}

/// The length of the character, or of the beginning of the lifetime, that the text begins with.
fn character(text: &str) -> usize {
    let mut chars = text.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => text[3..].find('\'').map_or(text.len(), |end| end + 4),
        (Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 1,
    }
}

/// Adds the module of a file, and those in its folder. `path` is without its `.rs`.
fn read(module: Module, file: &Path, folder: &Path, sources: &mut Sources) {
    let Ok(text) = fs::read_to_string(file) else { return };
    // Tests may use everything.
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_string();
    let mut is_test = false;
    for line in text.lines() {
        let name = line.strip_suffix(';').and_then(|line| line.split("mod ").nth(1));
        if let Some(name) = name.filter(|_| !is_test) {
            let (file, inside) = (folder.join(format!("{name}.rs")), folder.join(name));
            let file = if file.exists() { file } else { inside.join("mod.rs") };
            read([&module[..], &[name.to_string()]].concat(), &file, &inside, sources);
        }
        is_test = line == "#[cfg(test)]";
    }
    sources.insert(module, text);
}

/// The sources of all crates of the repository that this is run in.
fn repository() -> Sources {
    let mut sources = Sources::new();
    let crates = fs::read_dir(".").into_iter().flatten().flatten().map(|entry| entry.path().join("src"));
    for folder in crates.chain(["./src".into()]) {
        let name =
            folder.components().rev().nth(1).map_or(String::new(), |name| name.as_os_str().display().to_string());
        let root = ["lib.rs", "main.rs"].map(|root| folder.join(root)).into_iter().find(|root| root.exists());
        if let Some(root) = root {
            read(vec![name], &root, &folder, &mut sources);
        }
    }
    sources
}

#[test]
fn no_circle_of_imports_crosses_a_folder() {
    let sources = repository();
    assert!(
        sources.keys().any(|module| module[1..] == ["state", "jobs"]),
        "the sources are read: {:?}",
        sources.keys()
    );
    let circles = circles(&sources);
    assert!(
        circles.is_empty(),
        "folders that use each other: move what both need to where it belongs\n{}",
        circles.join("\n")
    );
}

#[test]
fn circles_are_found_through_trees_of_imports_names_that_are_passed_on_and_paths_in_code() {
    let sources = |state: &str| {
        let files = [
            ("", "mod link;\nmod serve;\nmod state;\npub use link::Link;"),
            ("link", "use crate::{serve::{self, Port as P}, other};\n"),
            ("serve", "fn f() { let c = '\"'; super::state::jobs::run(\"crate::link\") } // crate::link"),
            ("state", "mod jobs;\npub use jobs::Job;"),
            ("state/jobs", state),
        ];
        let module =
            |path: &str| ["c"].into_iter().chain(path.split('/')).filter(|n| !n.is_empty()).map(String::from).collect();
        files.map(|(path, text)| (module(path), text.to_string())).into()
    };
    for good in ["", "use super::Job;", "use std::link::Link;", "struct State<'a>(&'a str);"] {
        assert_eq!(circles(&sources(good)), Vec::<String>::new(), "{good}");
    }
    for bad in
        ["use crate::Link;", "use super::super::link;", "fn f() { crate::link::f() }", "use crate::serve::{a, b};"]
    {
        let found = circles(&sources(bad));
        assert!(found.len() == 1 && found[0].contains("c::serve uses c::state::jobs::run"), "{bad}: {found:?}");
    }
}
