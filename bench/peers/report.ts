/** The report of a comparison: one chart, the tables and the machine, as one file that needs nothing else. */
import { barChart } from '../../loadtest/report/charts.ts';
import { figure, page, pairs, paragraphs, table } from '../../loadtest/report/page.ts';
import { NOT_COMPARED } from './list.ts';
import type { Peer } from './peer.ts';
import { figureCells, promiseCells, verdicts, type Cells, type Figures } from './table.ts';

/** Throughput of all that were measured, fastest first, on a logarithmic axis. */
export function throughputChart(rows: readonly Figures[], peers: readonly Peer[]): string {
  const durable = new Map(peers.map((peer) => [peer.key, peer.durable.startsWith('yes')]));
  const measured = rows.filter((row) => row.missing === undefined && row.opsPerSecond > 0);
  const lowest = Math.min(1_000, ...measured.map((row) => row.opsPerSecond));
  return barChart({
    title: 'Acquires and releases a second, saturated',
    // A bar that begins at its own value could not be seen.
    x: { label: 'lock ops/s (logarithmic)', log: true, min: 10 ** Math.floor(Math.log10(lowest / 2)) },
    bars: measured
      .toSorted((a, b) => b.opsPerSecond - a.opsPerSecond)
      .map((row) => ({
        name: row.name,
        value: row.opsPerSecond,
        note: durable.get(row.key) ? 'on disk first' : 'not on disk',
      })),
  });
}

/**
 * @param method how it was measured, for the reader
 * @param host names and values of the machine
 */
export function reportPage(
  rows: readonly Figures[],
  peers: readonly Peer[],
  method: string,
  rate: number,
  host: readonly (readonly [string, string])[],
): string {
  const figures = figureCells(rows, rate);
  const missing = rows.filter((row) => row.missing !== undefined).map((row) => `${row.name}: ${row.missing}`);
  const absent = NOT_COMPARED.map(({ name, why }) => `${name}: ${why}`);
  const gaps = [...missing, ...absent].map((text) => `Not measured: ${text}.`);
  return page({
    title: 'Holdfast and other ways to take a lock',
    intro: method,
    sections: [
      {
        heading: 'Throughput',
        html: figure(
          throughputChart(rows, peers),
          'Medians of all runs. Whether a lock is on disk before its holder is told is written beside it.',
        ),
      },
      { heading: 'Saturated', html: html(columns(figures, [0, 1, 2, 3, 4, 5, 6])) },
      { heading: `At ${rate} ops/s`, html: html(columns(figures, [0, 7, 8])) },
      { heading: 'Cores while saturated', html: html(columns(figures, [0, 9, 10])) },
      { heading: 'What each promises', html: html(promiseCells(peers)) },
      { heading: 'Targets', html: paragraphs([...verdicts(rows), ...gaps].join('\n\n')) },
      { heading: 'Machine', html: pairs(host) },
    ],
  });
}

/** Some of the columns: all of them are too wide for a page. */
function columns(cells: Cells, places: readonly number[]): Cells {
  return cells.map((row) => places.map((place) => row[place]));
}

function html([head, ...rows]: Cells): string {
  return table(head, rows);
}
