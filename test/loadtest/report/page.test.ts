import { DOMParser, type Document } from '@xmldom/xmldom';
import { expect, test } from 'vitest';
import { lineChart } from '../../../loadtest/report/charts.ts';
import { machine } from '../../../loadtest/report/machine.ts';
import { details, figure, gallery, page, pairs, paragraphs, table } from '../../../loadtest/report/page.ts';

const HOSTILE = '"><img src=x onerror=alert(1)> & <script>x</script>\u0000';
const SEEN = '"><img src=x onerror=alert(1)> & <script>x</script>';
const CHART = lineChart({
  title: HOSTILE,
  x: { label: 's' },
  y: { label: 'ms' },
  series: [{ name: HOSTILE, points: [[1, 2]] }],
});

function report(): string {
  const html = [
    table(
      [HOSTILE, 'b'],
      [
        [HOSTILE, 1],
        [{ text: HOSTILE, tone: 'bad' }, '2 ms'],
      ],
    ),
    figure(CHART, HOSTILE),
    gallery([figure(CHART, '')]),
    pairs([[HOSTILE, HOSTILE]]),
    paragraphs(HOSTILE),
    details(HOSTILE, ''),
  ].join('\n');
  const sections = Array.from({ length: 4 }, (_, i) => ({ heading: `${i} ${HOSTILE}`, html }));
  return page({ title: HOSTILE, intro: `${HOSTILE}\n\nsecond`, sections });
}

/** The pages of this module are well-formed XML, too, but for their first line. */
function parse(html: string): Document {
  const onError = (level: string, message: string): never => {
    throw new Error(`${level}: ${message}`);
  };
  return new DOMParser({ onError }).parseFromString(html.replace('<!doctype html>', ''), 'text/xml');
}

test('hostile text stays text, wherever it comes in', () => {
  const html = report();
  expect(html).not.toMatch(/<script|<img/i);
  const document = parse(html);
  const tags = new Set([...document.getElementsByTagName('*')].map((node) => node.tagName));
  expect(tags).not.toContain('script');
  expect(tags).not.toContain('img');
  for (const tag of ['h1', 'th', 'td', 'dt', 'dd', 'p', 'summary', 'figcaption']) {
    expect(document.getElementsByTagName(tag)[0].textContent, tag).toBe(SEEN);
  }
});

test('a page needs nothing but itself', () => {
  const html = report();
  const document = parse(html);
  for (const node of document.getElementsByTagName('*')) {
    for (const name of ['src', 'srcset', 'data', 'action', 'xlink:href'])
      expect(node.hasAttribute(name)).toBe(false);
    if (node.hasAttribute('href')) expect(node.getAttribute('href')).toMatch(/^#s\d+$/);
  }
  const withoutNamespaces = html.replace(/ xmlns(:\w+)?="[^"]*"/g, '');
  expect(withoutNamespaces).not.toMatch(/https?:|\/\/|@import|url\((?!#)/);
});

test('links lead to their sections', () => {
  const html = report();
  for (const [, id] of html.matchAll(/href="#(s\d)"/g)) expect(html).toContain(`<section id="${id}">`);
  expect(page({ title: 'short', sections: [{ heading: 'one', html: '' }] })).not.toContain('<nav>');
});

test('columns of figures stand to the right, and verdicts have their colour', () => {
  const html = table(
    ['profile', 'P95', 'verdict'],
    [
      ['steady', '5.70 ms', { text: 'met', tone: 'good' }],
      ['peak', '–', { text: 'missed', tone: 'bad' }],
    ],
  );
  expect(html).toContain('<th class="right">P95</th>');
  expect(html).toContain('<th>profile</th>');
  expect(html).toContain('<td class="bad">missed</td>');
});

test('the machine is named by what a reader asks for', () => {
  const facts = new Map(machine('.'));
  for (const name of ['processor', 'cores', 'memory', 'system', 'filesystem of the data', 'disk', 'Node']) {
    expect(facts.get(name), name).toMatch(/\w/);
  }
  expect(Number(facts.get('cores'))).toBeGreaterThan(0);
  expect(facts.get('Node')).toContain(process.version);
});
