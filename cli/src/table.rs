//! Tables that fit a terminal. Elsewhere they are as wide as necessary, since programs read them too.

use rustix::termios::tcgetwinsize;
use std::io::{IsTerminal, stdout};
use std::iter::repeat_n;

/// The width of a table on a terminal that does not state its width.
const WIDTH: usize = 80;
/// No column is made narrower than this.
const LEAST: usize = 8;

/// How a column is aligned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Text aligned at the left, never shortened.
    Left,
    /// Numbers aligned at the right, never shortened.
    Right,
    /// Text aligned at the left, shortened if the table would be too wide.
    Flexible,
}

/// A table with a heading for each column.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new<const N: usize>(columns: [(&str, Column); N]) -> Self {
        Table {
            columns: columns.iter().map(|(_, column)| *column).collect(),
            rows: vec![columns.iter().map(|(heading, _)| heading.to_string()).collect()],
        }
    }

    /// Adds a row. A line break or another control character in a cell becomes a space.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        let plain = |cell: String| cell.replace(|c: char| c.is_control(), " ");
        self.rows.push(cells.into_iter().map(plain).collect());
    }

    /// The lines of the table, each ended, as wide as the standard output allows.
    pub fn text(&self) -> String {
        self.within(terminal_width())
    }

    fn within(&self, most: usize) -> String {
        let widths = self.widths(most);
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&self.columns).zip(&widths).map(|((cell, column), &width)| {
                let cell = shortened(cell, width);
                let padding = repeat_n(' ', width - cell.chars().count()).collect::<String>();
                if *column == Column::Right { padding + &cell } else { cell + &padding }
            });
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }

    fn widths(&self, most: usize) -> Vec<usize> {
        let longest = |at: usize| self.rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let mut widths: Vec<usize> = (0..self.columns.len()).map(longest).collect();
        let gaps = 2 * self.columns.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > most {
            let flexible = |at: &usize| self.columns[*at] == Column::Flexible && widths[*at] > LEAST;
            let Some(widest) = (0..widths.len()).filter(flexible).max_by_key(|&at| widths[at]) else { break };
            widths[widest] -= 1;
        }
        widths
    }
}

/// The number of columns of the terminal on standard output, if that is one.
fn terminal_width() -> usize {
    if !stdout().is_terminal() {
        return usize::MAX;
    }
    tcgetwinsize(stdout()).ok().map(|size| size.ws_col.into()).filter(|columns| *columns > 0).unwrap_or(WIDTH)
}

/// Shortens a text by its middle, since the ends of labels and paths tell most. The replacement occurs in no path that
/// a user would choose, so no text is taken for another.
fn shortened(text: &str, width: usize) -> String {
    let all: Vec<char> = text.chars().collect();
    if all.len() <= width {
        return text.into();
    }
    let kept = width.saturating_sub(1);
    let (first, last) = (kept.div_ceil(2), kept / 2);
    all[..first].iter().chain(&['…']).chain(&all[all.len() - last..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new([("NAME", Column::Left), ("N", Column::Right)]);
        table.row(["é".into(), "1".into()]);
        table.row(["longer".into(), "1234".into()]);
        assert_eq!(table.within(80), "NAME       N\né          1\nlonger  1234\n");
    }

    #[test]
    fn both_ends_stay() {
        assert_eq!(shortened("sum at word_count.rs:7", 11), "sum a….rs:7");
        assert_eq!(shortened("/data/old/../night", 12), "/data/…night");
        assert_eq!(shortened("sum", 3), "sum");
        assert_eq!(shortened("long", 1), "…");
    }

    #[test]
    fn wide_tables_are_shortened_in_flexible_columns() {
        let mut table = Table::new([("A", Column::Flexible), ("B", Column::Flexible), ("C", Column::Left)]);
        table.row(["a".repeat(90), "b\nb".into(), "c".repeat(20)]);
        let text = table.within(80);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("aa…aa") && text.contains("aa  b b  cccccccccccccccccccc\n"), "{text}");
        assert!(table.within(usize::MAX).contains(&"a".repeat(90)));
    }
}
