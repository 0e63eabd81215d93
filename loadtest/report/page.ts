/**
 * A report as one HTML file that needs nothing else: styles inline, charts
 * inline, no scripts, no network. It follows the reader's light or dark page.
 *
 * Text is escaped by every function here; only `html` of a section and the SVG
 * of a figure go in as they are, and both come from these functions and from
 * charts.ts.
 */
import { clean, escapeXml } from './escape.ts';

/** A cell is text; a number is set to the right, a tone sets its colour. */
export type Cell = string | number | { readonly text: string; readonly tone: Tone };
export type Tone = 'good' | 'bad' | 'quiet';

export interface Section {
  readonly heading: string;
  readonly html: string;
}

export interface Page {
  readonly title: string;
  /** Plain text; an empty line begins a new paragraph. */
  readonly intro?: string;
  readonly sections: readonly Section[];
}

/** The whole file. With more than three sections it begins with links to them. */
export function page({ title, intro, sections }: Page): string {
  const links = sections.map(({ heading }, i) => `<a href="#s${i}">${escapeText(heading)}</a>`);
  const bodies = sections.map(
    ({ heading, html }, i) => `<section id="s${i}">\n<h2>${escapeText(heading)}</h2>\n${html}\n</section>`,
  );
  return [
    '<!doctype html>',
    '<html lang="en">',
    '<head>',
    '<meta charset="utf-8"/>',
    '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
    '<meta name="color-scheme" content="light dark"/>',
    `<title>${escapeText(title)}</title>`,
    `<style>${STYLE}</style>`,
    '</head>',
    '<body>',
    `<h1>${escapeText(title)}</h1>`,
    ...(intro === undefined ? [] : [paragraphs(intro)]),
    ...(sections.length > 3 ? [`<nav>${links.join('\n')}</nav>`] : []),
    ...bodies,
    '</body>',
    '</html>',
    '',
  ].join('\n');
}

/** @param rows each with one cell a column; missing ones stay empty */
export function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const right = head.map((_, column) => rows.length > 0 && rows.every((row) => isFigure(row[column])));
  const align = (column: number): string => (right[column] ? ' class="right"' : '');
  const cells = (row: readonly Cell[]): string =>
    head.map((_, column) => cell(row[column] ?? '', right[column])).join('');
  return [
    '<div class="wide"><table>',
    `<thead><tr>${head.map((text, column) => `<th${align(column)}>${escapeText(text)}</th>`).join('')}</tr></thead>`,
    '<tbody>',
    ...rows.map((row) => `<tr>${cells(row)}</tr>`),
    '</tbody></table></div>',
  ].join('\n');
}

/** A chart of charts.ts, as it is, and what it shows. */
export function figure(svg: string, caption: string): string {
  const said = caption === '' ? '' : `<figcaption>${escapeText(caption)}</figcaption>`;
  return `<figure>\n${svg}\n${said}</figure>`;
}

/** Figures beside each other where the page is wide enough. */
export function gallery(figures: readonly string[]): string {
  return `<div class="gallery">\n${figures.join('\n')}\n</div>`;
}

/** Settings and the like: names and values. */
export function pairs(rows: readonly (readonly [name: string, value: string | number])[]): string {
  const lines = rows.map(
    ([name, value]) => `<dt>${escapeText(name)}</dt><dd>${escapeText(String(value))}</dd>`,
  );
  return `<dl>\n${lines.join('\n')}\n</dl>`;
}

/** Plain text; an empty line begins a new paragraph. */
export function paragraphs(text: string): string {
  return text
    .split(/\n\s*\n/)
    .filter((part) => part.trim() !== '')
    .map((part) => `<p>${escapeText(part)}</p>`)
    .join('\n');
}

/** Shown when it is opened. */
export function details(summary: string, html: string): string {
  return `<details><summary>${escapeText(summary)}</summary>\n${html}\n</details>`;
}

function escapeText(text: string): string {
  return escapeXml(clean(text));
}

function isFigure(value: Cell | undefined): boolean {
  if (typeof value === 'number') return true;
  const text = typeof value === 'object' ? value.text : (value ?? '');
  return /^[-+–]?(\d[\d.,\s]*)?( ?(%|ms|s|µs|[kMG]|[kMG]?i?B|cores|×))?$/u.test(text);
}

function cell(value: Cell, right: boolean): string {
  const classes = [...(right ? ['right'] : []), ...(typeof value === 'object' ? [value.tone] : [])];
  const text = typeof value === 'object' ? value.text : String(value);
  return `<td${classes.length === 0 ? '' : ` class="${classes.join(' ')}"`}>${escapeText(text)}</td>`;
}

const STYLE = `
:root{color-scheme:light dark;--paper:#fff;--text:#24292f;--quiet:#57606a;--line:#d8dee4;--good:#1a7f37;--bad:#cf222e;--link:#0b66d0}
@media (prefers-color-scheme:dark){:root{--paper:#11161d;--text:#e6edf3;--quiet:#9da7b3;--line:#30363d;--good:#4bd08b;--bad:#ff8182;--link:#58a6ff}}
body{margin:0 auto;max-width:1560px;padding:24px;background:var(--paper);color:var(--text);font:15px/1.5 system-ui,sans-serif}
h1{font-size:26px;margin:0 0 12px}
h2{font-size:20px;margin:40px 0 12px;padding-top:12px;border-top:1px solid var(--line)}
p{max-width:75em;margin:0 0 10px}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;margin:16px 0}
a{color:var(--link)}
.wide{overflow-x:auto}
table{border-collapse:collapse;margin:8px 0 16px;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:5px 14px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--quiet);font-weight:600;white-space:nowrap}
.right{text-align:right;white-space:nowrap}
.good{color:var(--good);font-weight:600}
.bad{color:var(--bad);font-weight:600}
.quiet,figcaption{color:var(--quiet)}
figure{margin:12px 0}
figcaption{font-size:13px;padding:2px 16px}
svg.chart{display:block;max-width:100%;height:auto}
.gallery{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,520px),1fr));gap:8px 24px;align-items:start}
.gallery figure{margin:0}
.gallery svg.chart{width:100%}
dl{display:grid;grid-template-columns:max-content 1fr;gap:3px 24px;margin:8px 0 16px}
dt{color:var(--quiet)}
dd{margin:0;overflow-wrap:anywhere}
summary{cursor:pointer;color:var(--quiet);margin:8px 0}
@media (max-width:700px){dl{grid-template-columns:1fr}dd{margin-bottom:6px}}
@media print{nav{display:none}section{break-inside:avoid}}
`;
