/** Tables for the terminal and for documents. */

/**
 * Columns padded to their widest cell, two spaces apart. The first row is the head.
 *
 * @param counts false for a cell that may be longer than its column
 */
export function aligned(
  cells: readonly (readonly string[])[],
  counts: (row: readonly string[], column: number) => boolean = () => true,
): string {
  const widths = cells[0].map((_, column) =>
    Math.max(...cells.map((row) => (counts(row, column) ? row[column].length : 0))),
  );
  const line = (row: readonly string[]): string => row.map((cell, i) => cell.padEnd(widths[i])).join('  ');
  return cells.map((row) => line(row).trimEnd()).join('\n');
}

/** A row of a Markdown table. */
export function markdownRow(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}
