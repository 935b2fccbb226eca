//! Cuts text into words, 64 bytes at a time.

use crate::str::Str;

/// The words of a text, which are separated by white space as in [`str::split_whitespace`]. [`Str::words`] makes it.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    text: &'a str,
    /// Where the current block of 64 bytes begins, and the next one.
    block: usize,
    next: usize,
    /// The bytes of the block that are still ahead and where a word begins or has just ended, a bit for each.
    edges: u64,
    /// Where the word begins whose end is not found yet.
    begin: Option<usize>,
}

impl Str {
    /// The words of a text, which are separated by white space as in [`str::split_whitespace`]. It is several times as
    /// fast, because it looks at 64 bytes at a time and makes each [`Str`] without a loop.
    ///
    /// ```
    /// use tryworks_core::Str;
    /// let words: Vec<Str> = Str::words("Call me\u{2003}Ishmael.").collect();
    /// assert_eq!(words, ["Call", "me", "Ishmael."]);
    /// ```
    #[inline]
    pub fn words(text: &str) -> Words<'_> {
        Words { text, block: 0, next: 0, edges: 0, begin: None }
    }
}

impl Iterator for Words<'_> {
    type Item = Str;

    #[inline(always)]
    fn next(&mut self) -> Option<Str> {
        loop {
            while self.edges != 0 {
                let edge = self.block + self.edges.trailing_zeros() as usize;
                self.edges &= self.edges - 1;
                match self.begin.take() {
                    None => self.begin = Some(edge),
                    Some(begin) => return Some(Str::part(self.text, begin, edge)),
                }
            }
            if self.next >= self.text.len() {
                let begin = self.begin.take()?;
                return Some(Str::part(self.text, begin, self.text.len()));
            }
            self.block = self.next;
            self.next += BLOCK;
            let space = white_space(self.text.as_bytes(), self.block);
            self.edges = space ^ (space << 1 | u64::from(self.begin.is_none()));
        }
    }
}

impl std::iter::FusedIterator for Words<'_> {}

/// How many bytes are looked at together: a bit for each in a number.
const BLOCK: usize = 64;
const EACH: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = EACH * 0x80;

/// The white space in the block of a text that begins at `at`, a bit for each byte. Behind the text is white space.
#[inline(always)]
fn white_space(text: &[u8], at: usize) -> u64 {
    let mut padded;
    let block: &[u8; BLOCK] = match text[at..].first_chunk() {
        Some(block) => block,
        None => {
            padded = [b' '; BLOCK];
            padded[..text.len() - at].copy_from_slice(&text[at..]);
            &padded
        }
    };
    let (mut space, mut suspects) = (0, 0);
    for (place, bytes) in block.as_chunks::<8>().0.iter().enumerate() {
        let word = u64::from_le_bytes(*bytes);
        // The multiplication gathers the lowest bits of the eight bytes in the highest byte.
        let gathered = (ascii_space(word) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        space |= gathered << (8 * place);
        suspects |= word;
    }
    // A character of three bytes may begin up to two bytes before the block and end in it.
    let before = text[at.saturating_sub(2)..at].iter().any(|byte| *byte >= 0x80);
    if suspects & HIGH != 0 || before { space | other_space(text, at) } else { space }
}

/// The high bit of each byte that is ASCII white space: 9 to 13, or 32.
#[inline(always)]
fn ascii_space(word: u64) -> u64 {
    let low = word & !HIGH;
    let blank = !((low ^ (EACH * 0x20)) + EACH * 0x7f);
    let from_9 = low + EACH * (0x80 - 9);
    let after_13 = low + EACH * (0x80 - 14);
    (blank | from_9 & !after_13) & !word & HIGH
}

/// The bytes of white space beyond ASCII in a block, a bit for each. A character may begin before the block, and end
/// behind it.
#[cold]
#[inline(never)]
fn other_space(text: &[u8], at: usize) -> u64 {
    let mut space = 0;
    let end = text.len().min(at + BLOCK);
    for begin in at.saturating_sub(2)..end {
        let length = other_space_at(&text[begin..]);
        for byte in (begin..begin + length).filter(|byte| (at..end).contains(byte)) {
            space |= 1 << (byte - at);
        }
    }
    space
}

/// The length of the white space beyond ASCII with which a text begins, in bytes; zero if there is none.
#[inline(always)]
fn other_space_at(text: &[u8]) -> usize {
    match text {
        [0xc2, 0x85 | 0xa0, ..] => 2,
        [0xe1, 0x9a, 0x80, ..] | [0xe2, 0x80, 0x80..=0x8a | 0xa8 | 0xa9 | 0xaf, ..] => 3,
        [0xe2, 0x81, 0x9f, ..] | [0xe3, 0x80, 0x80, ..] => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares with the standard library.
    fn check(text: &str) {
        let words: Vec<Str> = Str::words(text).collect();
        let expected: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words, expected, "{text:?}");
    }

    #[test]
    fn every_character_is_white_space_if_it_is_for_the_standard_library() {
        for char in '\0'..=char::MAX {
            let is_space = other_space_at(char.to_string().as_bytes()) > 0;
            assert_eq!(is_space, char.is_whitespace() && !char.is_ascii(), "{char:?}");
        }
        for char in ('\0'..='\u{3100}').chain('\u{fe00}'..='\u{ffff}') {
            check(&format!("a{char}b"));
        }
    }

    #[test]
    fn words_of_every_length_end_at_every_place() {
        for length in 0..200 {
            let word: String = "abcdefghijklmnopqrstuvwxyz".chars().cycle().take(length).collect();
            check(&word);
            for before in 0..70 {
                check(&format!("{}{word}\r\nx", " ".repeat(before)));
                check(&format!("{} {word}", "y".repeat(before)));
            }
        }
    }

    #[test]
    fn white_space_beyond_ascii_ends_words_at_every_place() {
        for space in ["\u{85}", "\u{a0}", "\u{1680}", "\u{2003}", "\u{2028}", "\u{202f}", "\u{205f}", "\u{3000}"] {
            for before in 0..135 {
                check(&format!("{}{space}{space}one \u{c9}t\u{e9}\u{20ac}{space}", "x".repeat(before)));
                check(&format!("{}{space}", "\u{c9}".repeat(before)));
                check(&format!("{space}{}\u{e2}\u{2009}", "\u{4e00}".repeat(before)));
            }
        }
    }
}
