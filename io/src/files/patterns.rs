//! Globs: which paths a pattern stands for, whatever bytes their names consist of.

use glob::{MatchOptions, Pattern};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
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
    has_wildcards || braces(path.as_os_str().as_bytes()).is_some()
}

/// Whether a file of this name is read only if the program names it.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    matches!(name.as_bytes().first(), Some(b'.' | b'_'))
}

/// The existing paths that a pattern stands for, by name. A relative pattern starts from `here`.
///
/// # Errors
/// If it cannot be seen whether a path is there. A link that leads to nothing is there, as in a directory that is read.
pub(super) fn find(here: &Path, pattern: &Path) -> Result<Vec<PathBuf>> {
    let mut alternatives = Vec::new();
    if !expand(pattern.as_os_str().as_bytes(), b"", &mut alternatives) {
        let message = format!("its braces stand for more than {MOST} patterns");
        return Err(Error::input(pattern.display(), None, message));
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
    Ok(match name.as_bytes() {
        b"**" => Part::AnyDepth,
        bytes if bytes.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[')) => {
            Part::Matching(Pattern::new(&text(name))?, is_hidden(name))
        }
        _ => Part::Named(name.to_os_string()),
    })
}

/// A name as text, to be matched. Each byte that is not UTF-8 is a character of its own, at the end of the last plane
/// for private use, so that a pattern can name the byte.
fn text(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().filter_map(|byte| char::from_u32(0x10_FF00 + u32::from(*byte))));
    }
    text
}

fn walk(at: PathBuf, parts: &[Part], found: &mut Vec<PathBuf>) -> Result<()> {
    let Some((first, rest)) = parts.split_first() else {
        if is_there(&at)? {
            found.push(at);
        }
        return Ok(());
    };
    match first {
        Part::Named(name) => walk(at.join(name), rest, found),
        Part::Matching(pattern, hidden) => {
            let matches =
                |name: &OsStr| (*hidden || !is_hidden(name)) && pattern.matches_with(&text(name), MatchOptions::new());
            names(&at)?.into_iter().filter(|name| matches(name)).try_for_each(|name| walk(at.join(name), rest, found))
        }
        Part::AnyDepth => {
            walk(at.clone(), rest, found)?;
            for name in names(&at)?.into_iter().filter(|name| !is_hidden(name)) {
                let below = at.join(name);
                // A link may lead back to its own directory.
                if look(&below)?.is_some_and(|about| about.is_dir()) {
                    walk(below, parts, found)?;
                }
            }
            Ok(())
        }
    }
}

/// What is at a path, which may be a link; `None` if nothing is.
fn look(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(about) => Ok(Some(about)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(Error::input(path.display(), None, error)),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Whether anything is at a path. If it goes through a link that leads to nothing, that is an error: there may be a
/// directory with files when the link leads to it again.
fn is_there(path: &Path) -> Result<bool> {
    if look(path)?.is_some() {
        return Ok(true);
    }
    for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        if look(above)?.is_some() {
            return match fs::metadata(above) {
                Ok(_) => Ok(false),
                Err(error) => Err(Error::input(above.display(), None, error)),
            };
        }
    }
    Ok(false)
}

/// The names in a directory; none if it does not exist or is no directory.
fn names(dir: &Path) -> Result<Vec<OsString>> {
    let read = || fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>();
    let failed = |error| Error::input(dir.display(), None, error);
    match read() {
        // What is there and is not found is a link that leads to nothing.
        Err(error) if error.kind() == ErrorKind::NotFound && is_there(dir)? => Err(failed(error)),
        Err(error) if is_missing(&error) => Ok(Vec::new()),
        other => other.map_err(failed),
    }
}

/// Adds what the braces of `text` stand for, each after `before`, as a shell does: `{a,b}` is each of these, and a
/// brace without a comma is itself. Returns false if there are too many.
fn expand(text: &[u8], before: &[u8], found: &mut Vec<PathBuf>) -> bool {
    let Some((start, alternatives, end)) = braces(text) else {
        found.push(PathBuf::from(OsString::from_vec([before, text].concat())));
        return found.len() <= MOST;
    };
    let before = [before, &text[..start]].concat();
    alternatives.iter().all(|one| expand(&[one, &text[end..]].concat(), &before, found))
}

/// The first braces with a comma: where they begin, the texts between the commas, and where they end.
fn braces(text: &[u8]) -> Option<(usize, Vec<&[u8]>, usize)> {
    let mut open: Vec<(usize, Vec<usize>)> = Vec::new();
    let mut outermost = None;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            // Braces in a class of characters stand for themselves; a `]` that comes first is one of the characters.
            b'[' => {
                let end = text.get(at + 2..).and_then(|rest| rest.iter().position(|byte| *byte == b']'));
                at += end.map_or(0, |end| end + 2);
            }
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
        assert!(expand(text.as_bytes(), b"", &mut found), "{text}");
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
        assert!(!expand("{a,b}".repeat(30).as_bytes(), b"", &mut Vec::new()), "a billion patterns");
    }
}
