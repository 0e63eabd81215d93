import { BASE_LOAD, BASE_SYSTEM, perSecond } from './base.ts';
import type { Dimension } from './point.ts';

const NAMES = 1_000;

export const hotNames: Dimension = {
  name: 'hot-names',
  title: 'Hot names',
  about:
    'tries on 1,000 names, the n-th n^−s times as popular as the first; held for 5 ms; refusals are answers',
  axis: { label: 's (0: all alike)', isLog: false },
  points: ({ isQuick }) => {
    const rate = isQuick ? 2_000 : 10_000;
    return (isQuick ? [0, 1] : [0, 0.5, 1, 1.5]).map((zipf) => ({
      ...{ kind: 'load', x: zipf, series: perSecond(rate), system: BASE_SYSTEM },
      load: { ...BASE_LOAD, opsPerFrame: 1, names: NAMES, rate, zipf },
    }));
  },
};
