//! Cuts text into words, eight bytes at a time, in lower case.

use super::words::Words;

/// A bit in each byte of a word.
const EACH: u64 = 0x0101_0101_0101_0101;

/// The high bit of each byte that is ASCII white space: 9 to 13, or 32. It is wrong only where a byte is above 127.
#[inline(always)]
fn white_space(word: u64) -> u64 {
    let low = word & (EACH * 0x7f);
    let space = !((low ^ (EACH * 0x20)) + EACH * 0x7f);
    let at_least_9 = low + EACH * (0x80 - 9);
    let above_13 = low + EACH * (0x80 - 14);
    (space | (at_least_9 & !above_13)) & !word & (EACH * 0x80)
}

/// The ASCII letters of eight bytes in lower case.
#[inline(always)]
fn lower(word: u64) -> u64 {
    let low = word & (EACH * 0x7f);
    let from_a = low + EACH * (0x80 - b'A' as u64);
    let after_z = low + EACH * (0x7f - b'Z' as u64);
    word | (from_a & !after_z & !word & (EACH * 0x80)) >> 2
}

/// White space in 64 bytes, a bit for each.
#[inline(always)]
fn mask_of(block: &[u8; 64]) -> u64 {
    let mut mask = 0;
    for (at, word) in block.chunks_exact(8).enumerate() {
        let word = u64::from_le_bytes(word.try_into().unwrap());
        // The multiplication gathers the high bits of eight bytes in the highest byte.
        mask |= ((white_space(word) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * at);
    }
    mask
}

/// Whether white space beyond ASCII may begin in these bytes.
fn may_have_other_space(text: &[u8]) -> bool {
    let mut found = 0u8;
    for &byte in text {
        found |= u8::from((byte == 0xc2) | (byte == 0xe1) | (byte == 0xe2) | (byte == 0xe3));
    }
    found != 0
}

/// Gives the words of `text` to `words`. `behind` is the text and what follows it.
pub fn words_of(text: &str, behind: &[u8], words: &mut Words) {
    if !text.is_ascii() && may_have_other_space(text.as_bytes()) {
        return text.split_whitespace().for_each(|word| words.add_slowly(word.as_bytes()));
    }
    let text = text.as_bytes();
    // Where the word begins that has not ended yet.
    let (mut begin, mut inside) = (0, false);
    let mut at = 0;
    while at < text.len() {
        let mut padded = [b' '; 64];
        let block: &[u8; 64] = match text[at..].first_chunk() {
            Some(block) => block,
            None => {
                padded[..text.len() - at].copy_from_slice(&text[at..]);
                &padded
            }
        };
        let space = mask_of(block);
        // A bit wherever a word begins or the white space behind it does.
        let mut edges = space ^ (space << 1 | u64::from(!inside));
        while edges != 0 {
            let edge = at + edges.trailing_zeros() as usize;
            edges &= edges - 1;
            if inside {
                add(text, behind, begin, edge, words);
            } else {
                begin = edge;
            }
            inside = !inside;
        }
        at += 64;
    }
    if inside {
        add(text, behind, begin, text.len(), words);
    }
}

#[inline(always)]
fn add(text: &[u8], behind: &[u8], begin: usize, end: usize, words: &mut Words) {
    let len = end - begin;
    if let (true, Some(bytes)) = (len <= 16, behind[begin..].first_chunk::<16>()) {
        let both = u128::from_le_bytes(*bytes) & (u128::MAX >> (128 - 8 * len as u32));
        let (first, second) = (both as u64, (both >> 64) as u64);
        // A word that ends in a zero byte would be taken for a shorter one.
        if bytes[len - 1] != 0 {
            return words.add(lower(first), lower(second));
        }
    }
    words.add_slowly(&text[begin..end]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_what_it_is() {
        for byte in 0..=127u8 {
            let mask = mask_of(&[byte; 64]);
            let expected = char::from(byte).is_whitespace();
            assert_eq!(mask, if expected { u64::MAX } else { 0 }, "{byte}");
        }
    }
}
