/** Figures from a server's own metrics. */

/** The sum over all label sets of one sample name at /metrics; 0 where there is none. */
export async function scrapeSum(url: string, sample: string): Promise<number> {
  const samples = await scrape(url, sample);
  return [...samples.values()].reduce((sum, value) => sum + value, 0);
}

/** Values by label set (`{shard="s0"}`, or '' without labels). */
export async function scrape(url: string, sample: string): Promise<Map<string, number>> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const values = new Map<string, number>();
  for (const line of text.split('\n')) {
    const match = /^([a-z_:]+)(\{.*\})? (\S+)$/.exec(line);
    if (match?.[1] === sample) values.set(match[2] ?? '', Number(match[3]));
  }
  return values;
}
