/**
 * Least squares with coefficients that are never negative: a cost below zero
 * has no meaning, and would make every extrapolation worthless. Coordinate
 * descent, for the handful of features that the model has.
 */

const ROUNDS = 20_000;
const SMALL = 1e-12;

export interface Equation {
  /** One value a feature. */
  readonly features: readonly number[];
  readonly value: number;
  /** How much a deviation counts; 1 / value² makes deviations relative. */
  readonly weight: number;
}

/** The coefficients ≥ 0 that minimize Σ weight · (features · coefficients − value)². A feature that is zero everywhere gets 0. */
export function fitNonNegative(equations: readonly Equation[]): number[] {
  const count = equations[0]?.features.length ?? 0;
  // Features differ by many orders of magnitude (ops a second beside a constant): each is brought to a norm of 1.
  const norms = Array.from({ length: count }, (_, j) =>
    Math.sqrt(equations.reduce((sum, { features, weight }) => sum + weight * features[j] ** 2, 0)),
  );
  const used = norms.map((norm) => norm > SMALL);
  const scaled = equations.map(({ features }) => features.map((x, j) => (used[j] ? x / norms[j] : 0)));
  const gram = norms.map((_, a) =>
    norms.map((__, b) => sumOf(equations, (e, i) => e.weight * scaled[i][a] * scaled[i][b])),
  );
  const target = norms.map((_, a) => sumOf(equations, (e, i) => e.weight * scaled[i][a] * e.value));
  const found = descend(gram, target, used);
  return found.map((x, j) => (used[j] ? x / norms[j] : 0));
}

/** Minimizes ½ x·G·x − t·x over x ≥ 0, one coordinate at a time. */
function descend(
  gram: readonly (readonly number[])[],
  target: readonly number[],
  used: readonly boolean[],
): number[] {
  const x = target.map(() => 0);
  const scale = Math.max(SMALL, ...target.map(Math.abs));
  for (let round = 0; round < ROUNDS; round++) {
    let moved = 0;
    for (let j = 0; j < x.length; j++) {
      if (!used[j]) continue;
      const slope = target[j] - gram[j].reduce((sum, g, k) => sum + g * x[k], 0);
      const next = Math.max(0, x[j] + slope / gram[j][j]);
      moved = Math.max(moved, Math.abs(next - x[j]));
      x[j] = next;
    }
    if (moved < SMALL * scale) break;
  }
  return x;
}

function sumOf(equations: readonly Equation[], of: (equation: Equation, i: number) => number): number {
  return equations.reduce((sum, equation, i) => sum + of(equation, i), 0);
}
