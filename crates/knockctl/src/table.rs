//! Columns under headings.

use crate::output::printable;

/// Sets rows under headings, each column as wide as its widest cell. A column that is empty throughout is left out.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| printable(cell))).collect();
    let is_used = |column: usize| rows.iter().any(|row| !cell(row, column).is_empty());
    let columns: Vec<usize> = (0..N).filter(|column| is_used(*column)).collect();
    let headings = headings.map(str::to_owned);
    aligned(std::iter::once(&headings).chain(&rows), &columns)
}

/// Sets names and what there is to say of each; a name that is empty goes on with the one above.
pub(crate) fn list(rows: &[[String; 2]]) -> String {
    let rows: Vec<[String; 2]> = rows.iter().map(|row| row.each_ref().map(|cell| printable(cell))).collect();
    aligned(rows.iter(), &[0, 1])
}

fn aligned<'a, const N: usize>(
    rows: impl Iterator<Item = &'a [String; N]> + Clone,
    columns: &[usize],
) -> String {
    let width = |column: usize| rows.clone().map(|row| cell(row, column).chars().count()).max().unwrap_or(0);
    let widths: Vec<(usize, usize)> = columns.iter().map(|column| (*column, width(*column))).collect();
    let line = |row: &[String; N]| {
        let cells = widths.iter().map(|(column, width)| format!("{:width$}", cell(row, *column)));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.map(line).collect()
}

fn cell<const N: usize>(row: &[String; N], column: usize) -> &str {
    row.get(column).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let row = |cells: [&str; 4]| cells.map(str::to_owned);
        let rows = [row(["é", "", "1", ""]), row(["a\n", "", "", "z"])];
        assert_eq!(table(["A", "B", "C", "D"], &rows), "A    C  D\né    1\na\\n     z\n");
        assert_eq!(list(&[["a".into(), "b".into()], ["".into(), "c".into()]]), "a  b\n   c\n");
    }
}
