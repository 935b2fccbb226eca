//! Globs: which paths a pattern stands for, whatever bytes their names consist of.

use glob::{MatchOptions, Pattern};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tryworks_base::{Error, Result};

/// The most patterns that the braces of one may stand for.
const MOST: usize = 10_000;

/// One name in a pattern.
enum Part {
    Named(OsString),
    /// A name that matches. A name that begins with `.` or `_` matches only if the pattern begins so.
    Matching(Pattern, bool),
    /// `**`: any number of directories.
    AnyDepth,
}

/// Whether a path that does not exist is a pattern.
pub(super) fn is_pattern(path: &Path) -> bool {
    let has_wildcards = path.as_os_str().as_bytes().iter().any(|byte| matches!(byte, b'*' | b'?' | b'['));
    has_wildcards || path.to_str().is_some_and(|text| braces(text).is_some())
}

/// Whether a file of this name is read only if the program names it.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    matches!(name.as_bytes().first(), Some(b'.' | b'_'))
}

/// The existing paths that a pattern stands for, by name. A relative pattern starts from `here`.
pub(super) fn find(here: &Path, pattern: &Path) -> Result<Vec<PathBuf>> {
    let mut alternatives = Vec::new();
    match pattern.to_str() {
        Some(text) if !expand(text, "", &mut alternatives) => {
            return Err(Error::input(
                pattern.display(),
                None,
                format!("its braces stand for more than {MOST} patterns"),
            ));
        }
        Some(_) => {}
        None => alternatives.push(pattern.to_path_buf()),
    }
    let mut found = Vec::new();
    for alternative in alternatives {
        let parts: Result<Vec<Part>> = alternative
            .iter()
            .map(part)
            .collect::<Result<_, _>>()
            .map_err(|error| Error::input(pattern.display(), None, error));
        walk(here.to_path_buf(), &parts?, &mut found)?;
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn part(name: &OsStr) -> Result<Part, glob::PatternError> {
    Ok(match name.to_str() {
        Some("**") => Part::AnyDepth,
        Some(text) if text.contains(['*', '?', '[']) => {
            Part::Matching(Pattern::new(text)?, text.starts_with(['.', '_']))
        }
        _ => Part::Named(name.to_os_string()),
    })
}

fn walk(at: PathBuf, parts: &[Part], found: &mut Vec<PathBuf>) -> Result<()> {
    let Some((first, rest)) = parts.split_first() else {
        if at.exists() {
            found.push(at);
        }
        return Ok(());
    };
    match first {
        Part::Named(name) => walk(at.join(name), rest, found),
        Part::Matching(pattern, hidden) => {
            let matches = |name: &OsStr| {
                // Bytes of a name that are not text match as one character that stands for them.
                (*hidden || !is_hidden(name)) && pattern.matches_with(&name.to_string_lossy(), MatchOptions::new())
            };
            names(&at)?.into_iter().filter(|name| matches(name)).try_for_each(|name| walk(at.join(name), rest, found))
        }
        Part::AnyDepth => {
            walk(at.clone(), rest, found)?;
            for name in names(&at)? {
                let below = at.join(&name);
                // A link may lead back to its own directory.
                if !is_hidden(&name) && fs::symlink_metadata(&below).is_ok_and(|about| about.is_dir()) {
                    walk(below, parts, found)?;
                }
            }
            Ok(())
        }
    }
}

/// The names in a directory; none if it does not exist or is no directory.
fn names(dir: &Path) -> Result<Vec<OsString>> {
    let read = || fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>();
    match read() {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
        other => other.map_err(|error| Error::input(dir.display(), None, error)),
    }
}

/// Adds what the braces of `text` stand for, each after `before`, as a shell does: `{a,b}` is each of these, and a
/// brace without a comma is itself. Returns false if there are too many.
fn expand(text: &str, before: &str, found: &mut Vec<PathBuf>) -> bool {
    let Some((start, alternatives, end)) = braces(text) else {
        found.push(PathBuf::from(format!("{before}{text}")));
        return found.len() <= MOST;
    };
    let before = format!("{before}{}", &text[..start]);
    alternatives.iter().all(|one| expand(&format!("{one}{}", &text[end..]), &before, found))
}

/// The first braces with a comma: where they begin, the texts between the commas, and where they end.
fn braces(text: &str) -> Option<(usize, Vec<&str>, usize)> {
    let mut open: Vec<(usize, Vec<usize>)> = Vec::new();
    let mut outermost = None;
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at) {
        match byte {
            // Braces in a class of characters stand for themselves.
            b'[' => at += text[at..].get(2..).and_then(|rest| rest.find(']')).map_or(0, |end| end + 2),
            b'{' => open.push((at, Vec::new())),
            b',' => open.last_mut().into_iter().for_each(|(_, commas)| commas.push(at)),
            b'}' => {
                if let Some((start, commas)) = open.pop().filter(|(_, commas)| !commas.is_empty()) {
                    outermost = Some((start, commas, at));
                    if open.is_empty() {
                        break;
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
    let (start, commas, end) = outermost?;
    let cuts = std::iter::once(start).chain(commas.iter().copied());
    let ends = commas.iter().copied().chain([end]);
    Some((start, cuts.zip(ends).map(|(cut, end)| &text[cut + 1..end]).collect(), end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        assert!(expand(text, "", &mut found), "{text}");
        found.into_iter().map(|path| path.to_str().unwrap().to_string()).collect()
    }

    #[test]
    fn braces_stand_for_what_a_shell_takes_them_for() {
        assert_eq!(expanded("a{b,c}d"), ["abd", "acd"]);
        assert_eq!(expanded("{a,b}{1,2}"), ["a1", "a2", "b1", "b2"]);
        assert_eq!(expanded("x{a,b{1,2},}y"), ["xay", "xb1y", "xb2y", "xy"]);
        assert_eq!(expanded("{{a,b},c}"), ["a", "b", "c"]);
        // Braces without a comma, without an end, or in a class stand for themselves.
        assert_eq!(expanded("{a}"), ["{a}"]);
        assert_eq!(expanded("{a{b,c}}"), ["{ab}", "{ac}"]);
        assert_eq!(expanded("{a,b"), ["{a,b"]);
        assert_eq!(expanded("{a,b}{"), ["a{", "b{"]);
        assert_eq!(expanded("{a,{b,c}"), ["{a,b", "{a,c"]);
        assert_eq!(expanded("}a,b{"), ["}a,b{"]);
        assert_eq!(expanded("[{,}]x"), ["[{,}]x"]);
        assert_eq!(expanded("[]{]{é,鯨}"), ["[]{]é", "[]{]鯨"]);
        assert!(!expand(&"{a,b}".repeat(30), "", &mut Vec::new()), "a billion patterns");
    }
}
