import { tmpdir } from 'node:os';
import { describe, expect, it } from 'vitest';
import { VERSION } from '../../src/version.ts';
import { holdfast } from './command.ts';

describe('holdfast', () => {
  it('says its version', async () => {
    expect(await holdfast(['--version'], tmpdir())).toEqual({ code: 0, stdout: `${VERSION}\n`, stderr: '' });
  });

  it('shows each setting with its variable and default', async () => {
    const { code, stdout } = await holdfast(['serve', '--help'], tmpdir());
    expect(code).toBe(0);
    const text = stdout.replaceAll(/\s+/g, ' ');
    expect(text).toContain('--request-timeout-ms <ms> time within which every request is answered');
    expect(text).toContain('(HOLDFAST_REQUEST_TIMEOUT_MS; default: 8000)');
  });

  it.each([
    [64, [], /Usage: holdfast/],
    [64, ['serv'], /Did you mean serve/],
    [64, ['serve', '--nope'], /unknown option '--nope'/],
    [64, ['serve', 'there'], /too many arguments/],
    [64, ['up', '--shards', 'two'], /'two' is invalid. allowed: an integer/],
    [64, ['up', '--processes', '0'], /'0' is invalid. allowed: an integer 1–9/],
    [64, ['journal', 'dump', '--slot', '4096'], /'4096' is invalid. allowed: an integer 0–4095/],
    [64, ['journal', 'dump', '--shard', 'x9'], /^holdfast: --shard is "x9"; allowed: s0, s1\n$/],
    [66, ['journal', 'dump', '--data', 'nowhere'], /^holdfast: nowhere\/s0: there is no data of shard s0\n$/],
    [78, ['journal', 'dump', '--shards', 'nowhere.yaml'], /^holdfast: .*nowhere\.yaml.*\n$/],
    [78, ['serve', '--port', '99999'], /^holdfast: --port is "99999"; allowed: an integer 0–65535\n$/],
    [78, ['up', '--port', '99999'], /^holdfast: --port is "99999"; allowed: an integer 0–65535\n$/],
  ])('exits with %i for %j', async (code, args, words) => {
    const ran = await holdfast(args, tmpdir());
    expect(ran.stderr).toMatch(words);
    expect([ran.code, ran.stdout]).toEqual([code, '']);
  });
});
