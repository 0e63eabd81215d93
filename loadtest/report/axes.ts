/** Axes of charts: where they begin and end, where their ticks stand, and what is written there. */

export interface Axis {
  /** With its unit: «latency, ms». */
  readonly label: string;
  readonly log?: boolean;
  readonly min?: number;
  readonly max?: number;
  /** Instead of the ticks that fit. */
  readonly ticks?: readonly number[];
  /** Of a tick; 66,700 is «66.7 k» without it. */
  readonly format?: (value: number) => string;
}

export interface Range {
  readonly min: number;
  readonly max: number;
  readonly ticks: readonly number[];
}

const TICKS = 7;
/** More decades than this get ticks at powers of ten alone. */
const FINE_DECADES_MAX = 3.2;
const DECADES_MAX = 8;

/** @param ends `tight`: the axis ends at the figures, otherwise at the tick beyond them. */
export function rangeOf(axis: Axis, values: readonly number[], ends: 'tight' | 'ticks'): Range {
  const usable = values.filter((value) => Number.isFinite(value) && (!axis.log || value > 0));
  let min = axis.min ?? Math.min(...usable);
  let max = axis.max ?? Math.max(...usable);
  if (!Number.isFinite(min)) min = axis.log ? 1 : 0;
  if (!Number.isFinite(max)) max = min + 1;
  if (max <= min) {
    max = axis.log ? min * 2 : min + (Math.abs(min) || 1);
    if (axis.min === undefined && axis.log) min /= 2;
  }
  const steps = axis.log ? logSteps(min, max) : linearSteps(min, max);
  if (ends === 'ticks') {
    min = axis.min ?? steps.findLast((step) => step <= min * (1 + 1e-9)) ?? min;
    max = axis.max ?? steps.find((step) => step >= max * (1 - 1e-9)) ?? max;
  }
  const room = (max - min) * 1e-9;
  const ticks = (axis.ticks ?? steps).filter((tick) => tick >= min - room && tick <= max + room);
  return { min, max, ticks };
}

/** Where `value` stands on the axis, from 0 to 1. */
export function placeOn(axis: Axis, { min, max }: Range, value: number): number {
  const scale = axis.log ? Math.log : (number: number): number => number;
  return (scale(value) - scale(min)) / (scale(max) - scale(min));
}

/** Round numbers from one at or below `min` to one at or above `max`. */
function linearSteps(min: number, max: number): number[] {
  const rough = (max - min) / TICKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= rough * 0.999) ?? 10);
  const first = Math.floor(min / step + 1e-9);
  const last = Math.ceil(max / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

function logSteps(min: number, max: number): number[] {
  const decades = Math.log10(max / min);
  const factors = decades <= FINE_DECADES_MAX ? [1, 2, 5] : [1];
  const every = Math.ceil(decades / DECADES_MAX);
  const steps: number[] = [];
  const last = Math.ceil(Math.log10(max)) + every;
  for (let power = Math.floor(Math.log10(min)); power <= last; power += every) {
    for (const factor of factors) steps.push(Number((factor * 10 ** power).toPrecision(12)));
  }
  return steps;
}

/** Three digits and the unit's prefix: 66,667 is «66.7 k», 1,000,000 «1 M». */
export function shortNumber(value: number): string {
  const units: readonly [number, string][] = [
    [1e9, ' G'],
    [1e6, ' M'],
    [1e3, ' k'],
  ];
  const [size, unit] = units.find(([size]) => Math.abs(value) >= size * 0.9995) ?? [1, ''];
  return `${Number((value / size).toPrecision(3))}${unit}`;
}
