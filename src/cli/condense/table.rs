//! Responsible for tables on standard output, with columns as wide as their widest cell.

/// Alignment of a column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Returns the lines of a table. Its first row is the header. The last column has no blanks at its
/// end.
pub(super) fn render(columns: &[Align], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(columns.iter().zip(&widths));
        let cells = cells.map(|(cell, (align, width))| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Align, render};

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["NAME", "SIZE", "X"], ["numpy", "1", ""]];
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.iter().map(|cell| (*cell).to_owned()).collect())
            .collect();
        let text = render(&[Align::Left, Align::Right, Align::Left], &rows);
        assert_eq!(text, "NAME   SIZE  X\nnumpy     1");
    }
}
